"""Pages of the chat."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from . import views

urlpatterns = [
    path("", views.rooms, name="rooms"),
    path("sign-in/", views.SignInView.as_view(), name="login"),
    path("sign-out/", LogoutView.as_view(), name="logout"),
    path("whoami/", views.whoami, name="whoami"),
    path("rooms/<slug:slug>/", views.room, name="room"),
    path("rooms/<slug:slug>/poll/", views.poll, name="poll"),
    path("rooms/<slug:slug>/next/", views.next_posts, name="next-posts"),
    path("rooms/<slug:slug>/upload/", views.upload, name="upload"),
    path("attachments/<int:pk>/", views.attachment, name="attachment"),
]
