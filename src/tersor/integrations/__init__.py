"""tersor inside other libraries: one module for each, imported only when asked for.

- `pypdf`, `pdfminer`, `tifffile`, `unlzw3`: ``install()`` puts tersor's LZW into the library, so that code
  which uses the library gets faster without a change; ``uninstall()`` takes it out again.
- `imagecodecs`, `ncompress`, `uncompresspy`, `unlzw3`: functions with the names and signatures of the
  library's own, which it need not be installed for.
- `fsspec`: ``register()`` lets fsspec open `.tsr` and `.Z` files, and with it pandas and Dask.

The modules are named after the libraries: ``from tersor.integrations import pypdf`` hides the library itself,
so write ``import tersor.integrations.pypdf`` or ``from tersor.integrations import pypdf as fast_pypdf``.
"""

from ._hooks import HookError

__all__ = ["HookError"]
