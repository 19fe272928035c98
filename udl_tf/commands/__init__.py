"""Commands without a module in the root: web, configs, export, import-torch, check-server."""

__all__: list[str] = []
