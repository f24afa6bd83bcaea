"""``ovchat up``: the whole platform on this machine."""

from __future__ import annotations

import typer

from gateway.client.exits import told_failures


def up() -> None:
    """Start Redis, gateway, converter and inference worker on this machine; Ctrl-C stops them all.

    The first start converts the demo model (OVCHAT_DEMO=false leaves it out). Everything that is kept is in
    OVCHAT_DATA_DIR; the README lists all settings.
    """
    with told_failures():
        from deploy.local.launcher import launch

        raise typer.Exit(launch())
