"""The last readings, for people and programs."""

from django.http import JsonResponse

from .models import Reading


def readings(request):
    """Topic -> what was said there last."""
    return JsonResponse(
        {each.topic: bytes(each.payload).decode("utf-8", "replace") for each in Reading.objects.all()}
    )
