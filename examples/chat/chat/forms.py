"""The form that makes a room."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.text import slugify

from .models import Room


class RoomForm(forms.ModelForm):
    class Meta:
        model = Room
        fields = ["name"]
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "off", "placeholder": "e.g. Garden"}),
        }
        error_messages = {"name": {"unique": "There is a room of that name already."}}

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        slug = slugify(name)
        if not slug:
            raise forms.ValidationError("Use at least one letter (a to z) or digit.")
        if Room.objects.filter(slug=slug).exists():
            raise forms.ValidationError("There is a room of that name already.")
        self.instance.slug = slug
        return name

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].label = "Name"
