"""One page: the last readings."""

from devices.views import readings
from django.urls import path

urlpatterns = [path("readings/", readings)]
