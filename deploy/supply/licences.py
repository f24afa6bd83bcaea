"""The licence of a package from its metadata, and which licences an image may be shipped with."""

from __future__ import annotations

import functools
from importlib.metadata import Distribution

from license_expression import ExpressionError, Licensing, get_spdx_licensing

#: Permissive licences, and MPL-2.0, whose files are shipped unchanged: who passes an image on need not do more.
PERMITTED = frozenset({
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0",
    "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MPL-2.0", "PSF-2.0", "Zlib",
})  # fmt: skip

# What the older field and the classifiers call them.
_SPELLINGS = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "new bsd": "BSD-3-Clause",
    # Which of the two it is, they do not say.
    "bsd": "BSD License",
    "bsd license": "BSD License",
}


def licences(distribution: Distribution) -> tuple[str, ...]:
    """Return a package's licences, as SPDX expressions where its metadata is clear; none where it is silent."""
    metadata = distribution.metadata
    if "License-Expression" in metadata:
        return (metadata["License-Expression"],)
    stated = metadata["License"].strip() if "License" in metadata else ""
    if known := _spdx(stated):
        return (known,)
    classifiers = [line for line in metadata.get_all("Classifier") or [] if line.startswith("License :: ")]
    names = [line.rpartition(" :: ")[2] for line in classifiers]
    return tuple(sorted(_spdx(name) or name for name in names))


def is_permitted(licence: str) -> bool:
    """Say whether an image may carry what is under this licence; of a choice one permitted licence is enough."""
    if licence in PERMITTED:
        return True
    spdx = _licensing()
    try:
        expression = spdx.parse(licence, validate=True, strict=True)
    except ExpressionError:
        return False
    if expression is None:
        return False
    symbols = spdx.license_symbols(expression, decompose=False)
    known = {symbol: spdx.TRUE for symbol in symbols if str(symbol) in PERMITTED}
    return bool(expression.subs(known).simplify() == spdx.TRUE)


def _spdx(name: str) -> str | None:
    if spelled := _SPELLINGS.get(name.lower()):
        return spelled
    # A whole licence's text is no name of one.
    if not name or "\n" in name:
        return None
    return None if _licensing().validate(name).errors else name


@functools.cache
def _licensing() -> Licensing:
    return get_spdx_licensing()
