"""Licences of weights, as the metadata of a model card names them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pdiff.errors import UserError

NAMED = (
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m "
    "afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 "
    "cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 "
    "cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 "
    "cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl "
    "gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql "
    "ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license llama2 gemma unknown"
)
"""Identifiers that the hub knows, as words; any other licence is `other`, with its name."""


@dataclass(frozen=True)
class Licence:
    """The licence of weights: as it was given, and its text where that is a file."""

    given: str = ""
    text: str = ""

    @classmethod
    def of(cls, given: str) -> Licence:
        """Return the licence that a name or a file says. Raises UserError for a file that is none."""
        path = Path(given)
        if not given or (not path.is_file() and "/" not in given and path.suffix not in (".txt", ".md")):
            return cls(given.strip())
        try:
            return cls(path.stem, path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            mend = "name a licence (mit, cc-by-4.0), or a file of its text"
            raise UserError(f"--licence {given}: no readable text file; {mend}") from None

    @property
    def known(self) -> bool:
        """Whether it was said at all."""
        return bool(self.given)

    @property
    def metadata(self) -> dict[str, str]:
        """The keys of a card's metadata: the hub's identifier, or `other` with a name and the file of the text."""
        if self.given.lower() in NAMED.split() and not self.text:
            return {"license": self.given.lower()}
        name = re.sub(r"[^a-z0-9.]+", "-", self.given.lower()).strip("-") or "unknown"
        return {"license": "other", "license_name": name} | ({"license_link": "LICENSE"} if self.text else {})

    @property
    def sentence(self) -> str:
        """What a card says in words."""
        if not self.known:
            return "Unknown: who pushed these weights named no licence. Ask them before you use the weights."
        return f"{self.given}{', whose text is in the file LICENSE' if self.text else ''}, as who pushed them says."
