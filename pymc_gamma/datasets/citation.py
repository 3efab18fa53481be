"""What to cite for a data set, a catalogue or a model, and under which terms it may be used."""

from dataclasses import dataclass

__all__ = ["Citation"]


@dataclass(frozen=True)
class Citation:
    """A reference, as it should appear in a publication.

    Parameters
    ----------
    text : str
        The reference in words.
    doi : str, optional
        Digital object identifier, without the resolver's address.
    arxiv : str, optional
        arXiv identifier.
    terms : str, optional
        Licence or terms of use, and the acknowledgement its owners ask for.
    bibtex : str, optional
        BibTeX entry.

    Examples
    --------
    >>> from pymc_gamma.datasets import Citation
    >>> print(Citation("A. Author (2018), A Journal 1, 2", doi="10.1000/182"))
    A. Author (2018), A Journal 1, 2, doi:10.1000/182
    """

    text: str
    doi: str | None = None
    arxiv: str | None = None
    terms: str | None = None
    bibtex: str | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("A citation needs a text.")

    def __str__(self) -> str:
        """Return the reference with its identifiers, on one line."""
        parts = [self.text]
        if self.doi:
            parts.append(f"doi:{self.doi}")
        if self.arxiv:
            parts.append(f"arXiv:{self.arxiv}")
        return ", ".join(parts)
