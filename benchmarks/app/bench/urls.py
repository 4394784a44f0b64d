from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from headrace.asgi import channel_layers

BIG = b"0123456789" * 10240


def hello(request):
    return HttpResponse(b"Hello, world!", content_type="text/plain")


@csrf_exempt
def echo(request):
    return HttpResponse(request.body, content_type="application/octet-stream")


def big(request):
    return HttpResponse(BIG, content_type="application/octet-stream")


def held(request):
    count = len(channel_layers["default"].channel_layer.group_channels("held"))
    return HttpResponse(str(count), content_type="text/plain")


urlpatterns = [path("hello", hello), path("echo", echo), path("big", big), path("held", held)]
