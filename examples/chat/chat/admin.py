"""Rooms, posts and reminders in Django's admin."""

from __future__ import annotations

from django.contrib import admin

from .models import Post, Reminder, Room


@admin.register(Room)
class RoomAdmin(admin.ModelAdmin):
    list_display = ["name", "slug", "created_by", "created_at"]
    prepopulated_fields = {"slug": ["name"]}


@admin.register(Post)
class PostAdmin(admin.ModelAdmin):
    list_display = ["room", "author", "kind", "body", "created_at"]
    list_filter = ["room", "kind"]
    raw_id_fields = ["author", "recipient"]


@admin.register(Reminder)
class ReminderAdmin(admin.ModelAdmin):
    list_display = ["room", "user", "text", "due_at", "delivered_at"]
