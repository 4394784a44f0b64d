"""The layer that the interface server is given: nothing of Django is loaded for it."""

import os

from headrace_asgi import RedisChannelLayer

layer = RedisChannelLayer(hosts=[f"redis://127.0.0.1:{os.environ.get('BENCH_REDIS_PORT', '6390')}/0"])
