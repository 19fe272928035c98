"""Commands of udl-tf without a module in the root: configs, export, import-torch, check-server."""

__all__: list[str] = []
