"""The pages: sign in, rooms, one room, the long poll, uploads and downloads."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.core.files.uploadedfile import UploadedFile
from django.db.models import Q
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from headrace import Group
from headrace.exceptions import ResponseLater

from .demo_people import DEMO_PEOPLE, demo_password
from .forms import RoomForm
from .models import MAX_POST_LENGTH, MAX_REMINDER_SECONDS, Post, Room
from .publish import poll_group, publish_post

__all__ = ["SignInView", "attachment", "next_posts", "poll", "room", "rooms", "upload", "whoami"]


class SignInView(LoginView):
    """Django's own sign-in, with the demo people to choose from while DEBUG is on."""

    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        people = [(name, demo_password(name)) for name in DEMO_PEOPLE] if settings.DEBUG else []
        return super().get_context_data(demo_people=people, **kwargs)


@login_required
@require_http_methods(["GET", "POST"])
def rooms(request: HttpRequest) -> HttpResponse:
    """All rooms and who is in them; POST makes a new one."""
    form = RoomForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.instance.created_by = request.user
        return redirect(form.save())
    shown = [(room, room.people()) for room in Room.objects.all()]
    return render(request, "chat/rooms.html", {"rooms": shown, "form": form})


@login_required
@require_GET
@never_cache
def room(request: HttpRequest, slug: str) -> HttpResponse:
    """The room itself. Posts and people come over the page's WebSocket."""
    found = Room.objects.filter(slug=slug).first()
    if found is None:
        return _no_room(request)
    context = {
        "room": found,
        "max_post_length": MAX_POST_LENGTH,
        "max_reminder_seconds": MAX_REMINDER_SECONDS,
        "max_upload_bytes": settings.CHAT_UPLOAD_MAX_BYTES,
        "max_upload_mb": settings.CHAT_UPLOAD_MAX_BYTES // 10**6,
    }
    return render(request, "chat/room.html", context)


@login_required
@require_GET
@never_cache
def poll(request: HttpRequest, slug: str) -> HttpResponse:
    """The same posts for browsers without WebSockets: a page that asks `next_posts` again and again."""
    found = Room.objects.filter(slug=slug).first()
    return _no_room(request) if found is None else render(request, "chat/poll.html", {"room": found})


@require_GET
@never_cache
def whoami(request: HttpRequest) -> JsonResponse:
    """Tells a page whose socket is refused whether the person is still signed in."""
    if not request.user.is_authenticated:
        return JsonResponse({"error": "You are signed out."}, status=401)
    return JsonResponse({"name": request.user.get_username()})


@require_GET
@never_cache
def next_posts(request: HttpRequest, slug: str) -> JsonResponse:
    """A long poll: the posts after `?after=`; while there are none, no worker waits and the client does.

    The request joins a group and `publish_post` answers it. A client that has waited long enough leaves and
    asks again, and its membership goes with it.
    """
    if not request.user.is_authenticated:
        return JsonResponse({"error": "You are signed out."}, status=401)
    found = get_object_or_404(Room, slug=slug)
    after = request.GET.get("after", "0")
    if not after.isdecimal() or len(after) > 18:
        return JsonResponse({"error": "after= must be the number of a post."}, status=400)
    waiting = Group(poll_group(found.pk))
    # Join first, then look: a post made in between answers the request twice, and only the first one counts.
    waiting.add(request.reply_channel)
    posts = found.history(request.user.pk, after=int(after))
    if not posts:
        raise ResponseLater
    waiting.discard(request.reply_channel)
    return JsonResponse({"posts": [post.as_dict() for post in posts]})


@require_POST
def upload(request: HttpRequest, slug: str) -> JsonResponse:
    """Attach one file to a room. Errors are `{"error": text}` for the page to show."""
    if not request.user.is_authenticated:
        return JsonResponse({"error": "You are signed out."}, status=401)
    found = get_object_or_404(Room, slug=slug)
    file = request.FILES.get("file")
    if not isinstance(file, UploadedFile) or file.size is None:
        return JsonResponse({"error": "Choose a file first."}, status=400)
    if file.size > settings.CHAT_UPLOAD_MAX_BYTES:
        limit = settings.CHAT_UPLOAD_MAX_BYTES // 10**6
        return JsonResponse({"error": f"The file is too large: at most {limit} MB."}, status=413)
    post = Post.objects.create(
        room=found,
        author=request.user,
        kind=Post.Kind.FILE,
        body=PurePath(file.name or "file").name[:200],
        attachment=file,
        size_bytes=file.size,
    )
    publish_post(post)
    return JsonResponse({"id": post.pk}, status=201)


@login_required
@require_GET
def attachment(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Download an attachment. Always as a file, never shown: it may be a page with scripts in it."""
    visible = Q(recipient=None) | Q(recipient=request.user.pk)
    post = get_object_or_404(Post.objects.filter(visible, kind=Post.Kind.FILE), pk=pk)
    return FileResponse(
        post.attachment.open("rb"),
        as_attachment=True,
        filename=post.body,
        content_type="application/octet-stream",
    )


def _no_room(request: HttpRequest) -> HttpResponse:
    """The page for an address that is gone, which Django shows by itself only without DEBUG."""
    return render(request, "404.html", {"problem": "There is no room at this address."}, status=404)
