"""References of the data sets and of the published numbers that this package uses."""

from pymc_gamma.datasets.citation import Citation

__all__ = [
    "CTAO_PROD3B",
    "CTAO_PROD5",
    "DARK_MATTER_SPECTRA",
    "FERMI_DIFFUSE",
    "GAGGERO_2015",
    "HESS_DL3_DR1",
    "HGPS",
]

CTAO_PROD5 = Citation(
    text=(
        "Cherenkov Telescope Array Observatory & Cherenkov Telescope Array Consortium (2021), "
        "CTAO Instrument Response Functions - prod5 version v0.1, Zenodo"
    ),
    doi="10.5281/zenodo.5499840",
    terms=(
        "CC BY 4.0. Acknowledge: This research has made use of the CTA instrument response functions "
        "provided by the CTA Consortium and Observatory, see "
        "https://www.ctao-observatory.org/science/cta-performance/ (version prod5 v0.1; "
        "https://doi.org/10.5281/zenodo.5499840) for more details."
    ),
    bibtex="""@misc{ctao_prod5_v01,
  author = {{Cherenkov Telescope Array Observatory} and {Cherenkov Telescope Array Consortium}},
  title = {CTAO Instrument Response Functions - prod5 version v0.1},
  publisher = {Zenodo}, version = {v0.1}, year = {2021}, doi = {10.5281/zenodo.5499840}
}""",
)

CTAO_PROD3B = Citation(
    text=(
        "Cherenkov Telescope Array Observatory & Cherenkov Telescope Array Consortium (2016), "
        "CTAO Instrument Response Functions - version prod3b-v2, Zenodo"
    ),
    doi="10.5281/zenodo.5163273",
    terms=(
        "CC BY 4.0. Acknowledge: This research has made use of the CTA instrument response functions "
        "provided by the CTA Consortium and Observatory, see "
        "https://www.cta-observatory.org/science/cta-performance/ (version prod3b-v2; "
        "https://doi.org/10.5281/zenodo.5163273) for more details."
    ),
)

HGPS = Citation(
    text="H.E.S.S. Collaboration, Abdalla, H. et al. (2018), The H.E.S.S. Galactic plane survey, A&A 612, A1",
    doi="10.1051/0004-6361/201732098",
    arxiv="1804.02432",
    terms="Published without a licence text; cite the paper.",
    bibtex="""@article{hgps_2018,
  author = {{H.E.S.S. Collaboration} and Abdalla, H. and others},
  title = {The H.E.S.S. Galactic plane survey},
  journal = {Astronomy and Astrophysics}, volume = {612}, pages = {A1}, year = {2018},
  doi = {10.1051/0004-6361/201732098}, eprint = {1804.02432}, archivePrefix = {arXiv}
}""",
)

HESS_DL3_DR1 = Citation(
    text=(
        "H.E.S.S. Collaboration (2018), H.E.S.S. first public test data release (HESS DL3 DR1), Zenodo; with "
        "background models of Mohrmann, L. et al. (2019), Validation of open-source science tools and background "
        "model construction in gamma-ray astronomy, A&A 632, A72, doi:10.1051/0004-6361/201936452"
    ),
    doi="10.5281/zenodo.1421099",
    arxiv="1910.08088",
    terms=(
        "No scientific publications may be derived from the data; using the data for new claims about the "
        "astrophysical sources is not permitted. These terms must be included in all copies in full or part of the "
        "data. Acknowledge: This work made use of data from the H.E.S.S. DL3 public test data release 1 (HESS DL3 DR1, "
        "H.E.S.S. collaboration, 2018)."
    ),
    bibtex="""@misc{hess_dl3_dr1,
  author = {{H.E.S.S. Collaboration}},
  title = {H.E.S.S. first public test data release},
  publisher = {Zenodo}, year = {2018}, doi = {10.5281/zenodo.1421099}
}

@article{mohrmann_2019,
  author = {Mohrmann, L. and Specovius, A. and Tiziani, D. and Funk, S. and Malyshev, D. and Nakashima, K. and
    van Eldik, C.},
  title = {Validation of open-source science tools and background model construction in gamma-ray astronomy},
  journal = {Astronomy and Astrophysics}, volume = {632}, pages = {A72}, year = {2019},
  doi = {10.1051/0004-6361/201936452}, eprint = {1910.08088}, archivePrefix = {arXiv}
}""",
)

FERMI_DIFFUSE = Citation(
    text=(
        "Acero, F. et al. (Fermi-LAT Collaboration, 2016), Development of the model of Galactic interstellar "
        "emission for standard point-source analysis of Fermi Large Area Telescope data, ApJS 223, 26"
    ),
    doi="10.3847/0067-0049/223/2/26",
    arxiv="1602.07246",
    terms="Public data of NASA and the Fermi-LAT Collaboration; cite the paper.",
    bibtex="""@article{fermi_diffuse_2016,
  author = {Acero, F. and others},
  title = {Development of the Model of Galactic Interstellar Emission for Standard Point-source Analysis of
    Fermi Large Area Telescope Data},
  journal = {Astrophysical Journal Supplement Series}, volume = {223}, pages = {26}, year = {2016},
  doi = {10.3847/0067-0049/223/2/26}, eprint = {1602.07246}, archivePrefix = {arXiv}
}""",
)

GAGGERO_2015 = Citation(
    text=(
        "Gaggero, D., Grasso, D., Marinelli, A., Urbano, A. & Valli, M. (2015), The gamma-ray and neutrino "
        "sky: a consistent picture of Fermi-LAT, Milagro, and IceCube results, ApJ 815, L25"
    ),
    doi="10.1088/2041-8205/815/2/L25",
    arxiv="1504.00227",
    bibtex="""@article{gaggero_2015,
  author = {Gaggero, D. and Grasso, D. and Marinelli, A. and Urbano, A. and Valli, M.},
  title = {The Gamma-Ray and Neutrino Sky: A Consistent Picture of Fermi-LAT, Milagro, and IceCube Results},
  journal = {Astrophysical Journal Letters}, volume = {815}, pages = {L25}, year = {2015},
  doi = {10.1088/2041-8205/815/2/L25}, eprint = {1504.00227}, archivePrefix = {arXiv}
}""",
)

DARK_MATTER_SPECTRA = Citation(
    text=(
        "Cirelli, M. et al. (2011), PPPC 4 DM ID: a poor particle physicist cookbook for dark matter "
        "indirect detection, JCAP 03, 051; with electroweak corrections of Ciafaloni, P. et al. (2011), Weak "
        "corrections are relevant for dark matter indirect detection, JCAP 03, 019, arXiv:1009.0224"
    ),
    doi="10.1088/1475-7516/2011/03/051",
    arxiv="1012.4515",
    terms="Creative Commons Attribution-ShareAlike 4.0 International; its authors ask to cite both papers.",
)

Z2_DARKSUSY = Citation(
    text=(
        "Bringmann, T., Edsjo, J., Gondolo, P., Ullio, P. & Bergstrom, L. (2018), DarkSUSY 6: an advanced tool to "
        "compute dark matter properties numerically, JCAP 07, 033; table of the scalar singlet as in Pinchbeck, L., "
        "Thrane, E. & Balazs, C. (2024), arXiv:2401.13876"
    ),
    doi="10.1088/1475-7516/2018/07/033",
    arxiv="1802.03399",
    terms="MIT licence, as part of the Python package GammaBayes.",
)

Z2_DIMAURO = Citation(
    text=(
        "Di Mauro, M., Arina, C., Fornengo, N., Heisig, J. & Massaro, D. (2023), Dark matter in the Higgs resonance "
        "region, Phys. Rev. D 108, 095008"
    ),
    doi="10.1103/PhysRevD.108.095008",
    arxiv="2305.11937",
    terms="MIT licence, as part of the Python package GammaBayes.",
)

Z5_MODEL = Citation(
    text=(
        "Belanger, G., Pukhov, A., Yaguna, C. E. & Zapata, O. (2020), The Z5 model of two-component dark matter, "
        "JHEP 09, 030"
    ),
    doi="10.1007/JHEP09(2020)030",
    arxiv="2006.14922",
    terms="MIT licence, as part of the Python package GammaBayes.",
)
