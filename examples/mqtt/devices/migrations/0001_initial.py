"""The first shape of the table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Reading",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("topic", models.CharField(max_length=255, unique=True)),
                ("payload", models.BinaryField()),
                ("seen_at", models.DateTimeField(auto_now=True)),
            ],
        ),
    ]
