"""Colours and bands shared by all pictures."""

__all__ = ["BANDS", "PALETTE", "component_color"]

# Okabe and Ito (2008), "Color universal design": distinguishable with any kind of colour vision.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")

# Quantiles [%] and opacity, the widest band first.
BANDS = ((2.5, 97.5, 0.25), (16.0, 84.0, 0.45))


def component_color(index: int) -> str:
    """Colour of a component, the same in every picture."""
    return PALETTE[index % len(PALETTE)]
