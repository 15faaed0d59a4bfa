"""What to cite for a result: the sources of each method, in one place.

A method is known by words that stand in an estimate's ``method``; what is made of several names
them all, so that "adaptive importance sampling of pairs" has the sources of both.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

DEMANGE_CHRYST = (
    "Demange-Chryst, Bachoc & Morio (2023), Efficient estimation of multiple expectations with the "
    "same sample by adaptive importance sampling and control variates, arXiv 2212.00568"
)
OWEN = "Owen & Zhou (2000), Safe and effective importance sampling, JASA 95"
SALTELLI = (
    "Sobol' (2001), Global sensitivity indices for nonlinear mathematical models and their Monte "
    "Carlo estimates, Math. Comput. Simul. 55",
    "Saltelli (2002), Making best use of model evaluations to compute sensitivity indices, Comput. "
    "Phys. Commun. 145",
)
CARDOSO = (
    "Cardoso, Janati El Idrissi, Le Corff, Moulines & Olsson (2023), State and parameter learning "
    "with PaRIS particle Gibbs, arXiv 2301.00900"
)
OLSSON = (
    "Olsson & Westerborn (2017), Efficient particle-based online smoothing in general hidden "
    "Markov models: the PaRIS algorithm, Bernoulli 23"
)
ADASMOOTH = (
    "Mastrototaro, Olsson & Alenlov (2021), Fast and numerically stable particle-based online "
    "additive smoothing: the AdaSmooth algorithm, arXiv 2108.00432"
)
CLOPPER = "Clopper & Pearson (1934), The use of confidence or fiducial limits, Biometrika 26"
GORDON = (
    "Gordon, Salmond & Smith (1993), Novel approach to nonlinear/non-Gaussian Bayesian state "
    "estimation, IEE Proceedings F 140"
)
LEE = "Lee & Whiteley (2018), Variance estimation in the particle filter, Biometrika 105"
LIPKIN = (
    "Lipkin et al. (2025), Fast controlled generation from language models with adaptive weighted "
    "rejection sampling, arXiv 2504.05410"
)
SLICED = (
    "Bonneel, Rabin, Peyre & Pfister (2015), Sliced and Radon Wasserstein barycenters of measures, "
    "J. Math. Imaging Vis. 51",
    "Nguyen & Ho (2024), Sliced Wasserstein estimation with control variates, arXiv 2305.00402",
)
SOURCES = {
    "importance sampling": (OWEN,),
    "adaptive importance sampling": (DEMANGE_CHRYST, OWEN),
    "failure probability": (
        DEMANGE_CHRYST,
        "Papaioannou, Geyer & Straub (2019), Improved cross entropy-based importance sampling, "
        "Reliab. Eng. Syst. Saf. 191",
    ),
    "model probabilities": ("Kass & Raftery (1995), Bayes factors, JASA 90",),
    "importance resampling": (
        "Xie, Santurkar, Ma & Liang (2023), Data selection for language models via importance "
        "resampling, arXiv 2302.03169",
    ),
    "posterior": (
        "Cornuet, Marin, Mira & Robert (2012), Adaptive multiple importance sampling, Scandinavian "
        "Journal of Statistics 39",
        OWEN,
        "Jones & Pewsey (2009), Sinh-arcsinh distributions, Biometrika 96",
        "Woodruff (1952), Confidence intervals for medians and other position measures, JASA 47",
    ),
    "weighted draws": (
        "Geyer (1992), Practical Markov chain Monte Carlo, Statistical Science 7",
        "Vehtari, Simpson, Gelman, Yao & Gabry (2024), Pareto smoothed importance sampling, JMLR "
        "25, arXiv 1507.02646",
    ),
    "input uncertainty": (
        "Cheng & Holland (1997), Sensitivity of computer simulation experiments to errors in input "
        "data, J. Stat. Comput. Simul. 57",
    ),
    "output law": (
        "Glynn (1996), Importance sampling for Monte Carlo estimation of quantiles, Mathematical "
        "Methods in Stochastic Simulation",
        "Chu & Nakayama (2012), Confidence intervals for quantiles when applying "
        "variance-reduction techniques, ACM Trans. Model. Comput. Simul. 22",
        "Chernozhukov, Chetverikov & Kato (2013), Gaussian approximations and multiplier bootstrap "
        "for maxima of sums of high-dimensional random vectors, arXiv 1212.6906",
        OWEN,
    ),
    "reweighting": (DEMANGE_CHRYST,),
    "pairs": SALTELLI,
    "Sobol'": SALTELLI,
    "Shapley effects": (
        "Song, Nelson & Staum (2016), Shapley effects for global sensitivity analysis: theory and "
        "computation, SIAM/ASA J. Uncertain. Quantif. 4",
        "Goda (2021), A simple algorithm for global sensitivity analysis with Shapley effects, "
        "arXiv 2001.02449",
    ),
    "nearest neighbours": (
        "Broto, Bachoc & Depecker (2020), Variance reduction for estimation of Shapley effects, "
        "SIAM/ASA J. Uncertain. Quantif. 8",
    ),
    "ranks": (
        "Gamboa, Gremaud, Klein & Lagnoux (2022), Global sensitivity analysis: a novel generation "
        "of mighty estimators based on rank statistics, Bernoulli 28",
        "Gasser, Sroka & Jennen-Steinmetz (1986), Residual variance and residual pattern in "
        "nonlinear regression, Biometrika 73",
    ),
    "particle filter": (GORDON, LEE),
    "OnlineFilter": (GORDON, LEE),
    "OnlineSmoother": (OLSSON, ADASMOOTH),
    "paris": (OLSSON, ADASMOOTH),
    "parisian": (CARDOSO,),
    "unbiased smoothing": (
        "Jacob, Lindsten & Schon (2020), Smoothing with couplings of conditional particle filters, "
        "JASA 115",
    ),
    "score": (CARDOSO,),
    "observed information": (
        "Louis (1982), Finding the observed information matrix when using the EM algorithm, "
        "JRSS B 44",
    ),
    "maximum likelihood": (
        CARDOSO,
        "Polyak & Juditsky (1992), Acceleration of stochastic approximation by averaging, SIAM J. "
        "Control Optim. 30",
    ),
    "online maximum likelihood": (
        "Olsson & Westerborn Alenlov (2020), Particle-based online estimation of tangent filters "
        "with application to parameter estimation in nonlinear state-space models, Annals of the "
        "Institute of Statistical Mathematics 72",
    ),
    "markov score climbing": (
        "Naesseth, Lindsten & Blei (2020), Markovian score climbing: variational inference with "
        "KL(p || q), arXiv 2003.10374",
    ),
    "constraint probability": (
        LIPKIN,
        "Des Raj (1956), Some estimators in sampling with varying probabilities without "
        "replacement, JASA 51",
    ),
    "constrained sequences": (
        LIPKIN,
        "Lew et al. (2023), Sequential Monte Carlo steering of large language models using "
        "probabilistic programs, arXiv 2306.03081",
    ),
    "weighted rejection": (LIPKIN,),
    "sliced": SLICED,
    "two laws": (
        "Efron & Stein (1981), The jackknife estimate of variance, Annals of Statistics 9",
        "Manole, Balakrishnan & Wasserman (2022), Minimax confidence intervals for the sliced "
        "Wasserstein distance, arXiv 1909.07862",
    ),
    "SlicedReference": SLICED,
}


@functools.lru_cache(256)  # names are few, and every estimate asks
def references_of(method: str) -> tuple[str, ...]:
    """The sources of all methods whose names stand in the words of one.

    Examples
    --------
    >>> for source in references_of("adaptive importance sampling"):
    ...     print(source[:40])
    Demange-Chryst, Bachoc & Morio (2023), E
    Owen & Zhou (2000), Safe and effective i
    """
    words = f" {re.sub('[_,.]', ' ', method)} "
    found: list[str] = []
    # the longest first: what is in a name is no method of its own
    for name in sorted(SOURCES, key=len, reverse=True):
        if f" {name} " in words:
            words = words.replace(f" {name} ", " ; ")
            found += SOURCES[name]
    return tuple(dict.fromkeys(found))


SOURCE = re.compile(
    r"(?P<author>.+?) \((?P<year>\d{4})\), (?P<title>.+?)"
    r"(, (?P<journal>(?!arXiv )[^,]+?)( (?P<volume>\d+))?)?(, arXiv (?P<eprint>\S+))?"
)


def bibtex(sources: Iterable[str]) -> str:
    """Sources as entries for BibTeX; what isn't "authors (year), title, journal" is a note.

    Examples
    --------
    >>> print(bibtex(["Owen & Zhou (2000), Safe and effective importance sampling, JASA 95"]))
    @article{owen2000safe,
      author = {Owen and Zhou},
      year = {2000},
      title = {{Safe and effective importance sampling}},
      journal = {JASA},
      volume = {95},
    }
    """
    return "\n\n".join(_entry(re.sub(r"[{}\\]", "", source)) for source in sources)


def _entry(source: str) -> str:
    found = SOURCE.fullmatch(source)
    if found is None:
        fields, names, kind = {"note": source}, [source], "misc"
    else:
        fields = {name: text for name, text in found.groupdict().items() if text}
        names = re.split(", | & ", fields["author"].replace(" et al.", " & others"))
        # braces keep names of several words together, and capitals as they are
        fields["author"] = " and ".join(f"{{{name}}}" if " " in name else name for name in names)
        fields["title"] = f"{{{fields['title']}}}"
        kind = "article" if "journal" in fields else "misc"
    if "eprint" in fields:
        fields["archiveprefix"] = "arXiv"
    word = re.sub(r"(\w*).*", r"\1", fields.get("title", "").strip("{}"))
    key = re.sub(r"\W", "", names[0] + fields.get("year", "") + word).lower()
    escaped = {name: re.sub("([&%#$_])", r"\\\1", text) for name, text in fields.items()}
    lines = [f"  {name} = {{{text}}}," for name, text in escaped.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])
