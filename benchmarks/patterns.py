r"""Patterns as automata against `re.fullmatch`, text by text.

    python benchmarks/patterns.py [--random N]

A hundred patterns of the kinds that programs have, each with an alphabet and a text that it is
meant for: judged are all texts of up to six characters of the alphabet, the text itself, and all
that differ from it by a character left out, put in or changed. Then patterns at random, nested
repeats, looks ahead and behind, boundaries, with all texts of up to six of three characters.
Counted are texts judged otherwise than by `re`, and matches with a beginning that is lost; patterns
that no automaton follows are named, as are those that `re` takes over a minute for. Kept in
results/patterns.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import signal
import time
from pathlib import Path

import numpy as np

import smcweights as smw

LONGEST = 6
PATIENCE = 60  # seconds that `re` has for a pattern
REAL = [
    # numbers
    (r"[+-]?\d+", "+-17", "-1771"),
    (r"0|[1-9]\d*", "019a", "1090"),
    (r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", "1.e-+", "-1.1e+11"),
    (r"\d{1,3}(,\d{3})*(\.\d\d)?", "1,.", "11,111.11"),
    (r"\$?\d+(\.\d{2})?", "$1.", "$111.11"),
    (r"0[xX][0-9a-fA-F]+", "0xaF", "0xaF0a"),
    (r"0b[01](_?[01])*", "0b1_", "0b10_01"),
    (r"0o[0-7]+", "0o78", "0o707"),
    (r"[1-9]\d?|100", "1095", "100"),
    (r"(100|\d{1,2})(\.\d+)?%", "10.%", "10.01%"),
    (r"M{0,3}(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})", "MCXVI", "MCMXCIV"),
    (r"(?=[MDCLXVI])M*(C[MD]|D?C{0,3})(X[CL]|L?X{0,3})(I[XV]|V?I{0,3})", "MDXVI", "MMXXVI"),
    # dates and times
    (r"\d{4}-\d{2}-\d{2}", "12-0", "2021-02-12"),
    (r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", "0123-", "2023-12-30"),
    (r"(0?[1-9]|1[0-2])/(0?[1-9]|[12]\d|3[01])/(\d\d)?\d\d", "013/", "10/31/13"),
    (r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d)?", "0236:", "23:50:02"),
    (r"(1[0-2]|0?[1-9]):[0-5]\d ?[aApP][mM]", "015: pm", "10:50 pm"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)", "2-T:Z+", "2222-22-22T22:22Z"),
    (r"P(?!$)(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?)?", "P1YMTH", "P1Y1MT1H"),
    (r"(19|20)\d\d", "1902", "2019"),
    (r"(Jan|Feb) \d{1,2}", "JanFeb 1", "Feb 11"),
    (r"(31/0[13]|(0[1-9]|[12]\d|30)/(0[1-9]|1[0-2]))/\d{2}", "013/", "31/03/11"),
    # addresses of machines
    (r"((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}", "25.", "255.5.25.2"),
    (r"((25[0-5]|2[0-4]\d|[01]?\d?\d)\.){3}(25[0-5]|2[0-4]\d|[01]?\d?\d)", "256.", "5.25.25.5"),
    (r"([0-9A-F]{2}[:-]){5}[0-9A-F]{2}", "0A:-", "0A:0A:00-AA:0A:00"),
    (r"([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}", "0a:", "0:a:0a:0:0:a:a:aa00"),
    (r"(([0-9a-f]{1,4}:)*[0-9a-f]{1,4})?::(([0-9a-f]{1,4}:)*[0-9a-f]{1,4})?", "0a:", "a:0::0a"),
    (r"(\d{1,3}\.){3}\d{1,3}/([12]?\d|3[0-2])", "123./", "1.2.3.1/32"),
    (r"(?!-)[a-z0-9-]{1,63}(?<!-)", "a0-.", "a-0a"),
    (r"(?:(?!-)[a-z0-9-]{1,63}(?<!-)\.)+[a-z]{2,}", "a-.0", "a-0.a.aa"),
    (r"(?=.{1,8}$)[a-z]+(\.[a-z]+)*", "ab.", "ab.a.b"),
    (r"localhost(:\d{1,5})?", "localhst:1", "localhost:11"),
    (r"\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5]", "0356", "65535"),
    # addresses of people and pages
    (r"[^@\s]+@[^@\s]+\.[^@\s]+", "a@. ", "a.a@a.aa"),
    (r"[\w.+-]+@[\w-]+\.[\w.-]+", "a+@.-", "a+a@a-a.a"),
    (r"(?!\.)(?!.*\.\.)[a-z.]+(?<!\.)@[a-z]+(\.[a-z]+)+", "a.@", "a.a@a.a"),
    (r"https?://[^\s/?#]+(/[^\s?#]*)?(\?[^\s#]*)?(#\S*)?", "htps:/a?", "https://a/a?a"),
    (r"(https?|ftp)://(-\.)?([^\s/?.#-]+\.?)+(/\S*)?", "htp:/a.", "http://a.a/a"),
    (r"www\.[a-z]+\.(com|org)", "w.acom", "www.a.com"),
    (r"mailto:[^?]+(\?subject=.*)?", "mailto:?", "mailto:tom"),
    (r"(/[^/ ]*)+/?", "/a. ", "/a/a."),
    (r"[a-z][a-z0-9+.-]*:.+", "a+.:0", "a+a:0"),
    (r"@\w{1,15}", "@a_1 ", "@a_1"),
    (r"#\w*[a-zA-Z_]+\w*", "#a1_é", "#1a_"),
    (r"(\([0-9]{3}\) |[0-9]{3}-)[0-9]{3}-[0-9]{4}", "(1)- ", "(111) 111-1111"),
    (r"\+?1?[-. ]?\(?\d{3}\)?[-. ]?\d{3}[-. ]?\d{4}", "+1-(.", "+1-(111)111.1111"),
    (r"\+[1-9]\d{1,14}", "+109", "+1091"),
    (r"\d{5}(-\d{4})?", "1-2", "12121-1212"),
    (r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}", "A1 b", "A1A 1AA"),
    (r"[ABCEGHJ-NPRSTVXY]\d[A-Z] ?\d[A-Z]\d", "AD1 ", "A1D 1A1"),
    # names in programs
    (r"[A-Za-z_]\w*", "a_1-é", "_a1é"),
    (r"(?!(?:if|in)\b)[a-z_]\w*", "ifn_1", "ifn"),
    (r"[a-z]+([A-Z][a-z]+)*", "aBc", "aBcBc"),
    (r"[a-z]+(_[a-z0-9]+)*", "a_1", "a_1_a"),
    (r"[a-z0-9]+(?:-[a-z0-9]+)*", "a-0_", "a-0-a"),
    (r"[A-Z][A-Z0-9_]*", "A0_a", "A_0A"),
    (r"--?[a-z]+(=\S*)?", "-a= ", "--a=a"),
    (r"\$\{[^}]+\}", "${}a", "${aa}"),
    (r"%[-+0 #]*(\d+|\*)?(\.\d+)?[dfs]", "%-1.d", "%-1.1d"),
    (r"\{\{\s*\w+\s*\}\}", "{} a", "{{ a }}"),
    (r"<([a-z]+)(\s[^>]*)?/?>", "<a />", "<a a/>"),
    (r"</?\w+((\s+\w+(\s*=\s*(\".*?\"|'.*?'))?)+\s*|\s*)/?>", "<a =\">", "<a a=\"a\">"),
    (r"<!--(?!>|->)(?:-?[^-])*-->", "<!->a", "<!--a-a-->"),
    (r"/\*(?:[^*]|\*(?!/))*\*/", "/*a\n", "/* a*\n*/"),
    (r"//.*", "/a\n", "//a/"),
    (r"\"(?:[^\"\\]|\\.)*\"", "\"\\an", "\"a\\\"n\""),
    (r"'[^']*(?:''[^']*)*'", "'a b", "'a''b'"),
    (r"#(?:[0-9a-f]{3}){1,2}", "#0fg", "#0f0f0f"),
    (r"rgb\((\d{1,3},){2}\d{1,3}\)", "rgb(1,)", "rgb(1,11,1)"),
    (r"#!?/[\w/]+", "#!/a", "#!/a/a"),
    (r"(?i:select)\s+\*\s+(?i:from)\s+\w+", "selct* From", "select * From c"),
    (r"v?(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}(-[0-9a-z.-]+)?(\+[0-9a-z.-]+)?", "v01.-+", "v1.0.1-0+1"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "0a-", "0a0a0a0a-0a0a-0000-aaaa-0a0a0a0a0a0a"),
    (r"[0-9a-f]{7,40}", "0ag", "0a0a0a0"),
    (r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", "a+/=", "a+/aaa=="),
    (r"eyJ[\w-]*\.[\w-]+\.[\w-]*", "eyJ.-", "eyJe.y-.J"),
    # passwords, files, lines
    (r"(?=.*\d)(?=.*[a-z])(?=.*[A-Z]).{4,8}", "a1B ", "a1BaB"),
    (r"(?=.*[!@#])(?!.*\s)\S{3,}", "a!# ", "a!a#"),
    (r"(?!.*([ab])(?!\b)aa)[ab]*", "ab", "abab"),
    (r"(?!.*aa)[ab]+", "abc", "ababa"),
    (r"(?!(?:CON|NUL)(?:\.|$))[^<>:/\\|?*\x00-\x1f]*[^<>:/\\|?*\x00-\x1f .]", "CON. ", "CONN.C"),
    (r"[^\\/:*?<>|]+\.(jpe?g|png)", "jpeg.n", "e.jpeg"),
    (r"(?:[a-z]:)?(?:\\[^\\:]+)+\\?", "c:\\ a", "c:\\a\\a a"),
    (r"\s*", " \t\na", " \t\n"),
    (r"\S+(?: \S+)*", "a b", "a b a"),
    (r"^\s*$|^\s*#.*$", " #a\n", "  #a"),
    (r"(?m)^(\w+)=(.*)$(\n^(\w+)=(.*)$)*", "a=\n ", "a=a\na= "),
    (r"\[[^\]\n]+\]", "[]a\n", "[a[a]"),
    (r"([^,\"\n]*|\"([^\"]|\"\")*\")(,([^,\"\n]*|\"([^\"]|\"\")*\"))*", "a,\"\n", "a,\"\"\"a\",a"),
    (r"-{3,}|={3,}", "-=a", "----"),
    (r"\*\*(?!\s).+?(?<!\s)\*\*", "*a ", "**a a**"),
    (r"!?\[[^\]]*\]\([^)]*\)", "![]()a", "![a](a)"),
    (r"(?:\+|-|\*|\d+\.) .+", "+*1. a", "1. a*"),
    (r"\w+(?:'\w+)?", "a'é ", "aé'a"),
    (r"\b\w+\b(?:\W+\b\w+\b)*", "a, é", "a, é a"),
    (r"(?a:\w)+(?u:\w)*", "aé1", "a1é"),
    (r"(?i)y(es)?|no?", "yesNO", "yeS"),
    (r"(?<!\d)\d{4}(?!\d)", "1 a", "1111"),
    (r"([a-z])\1+", "ab", "aaa"),
    (r"(['\"]).*?\1", "'\"a", "'a'"),
]  # fmt: skip
LEAVES = ["a", "b", "[ab]", "[^b]", ".", r"\w", r"\s", r"\W", "(?i:B)", r"(?s:.)", r"[^\W_]"]
PLACES = ["^", "$", r"\b", r"\B", r"\A", r"\Z", "(?m:^)", "(?m:$)"]
TIMES = ["*", "+", "?", "{2}", "{1,2}", "{,3}", "*?", "+?", "??", "{0,2}?"]


def drawn(rng, depth, fixed=False):
    """A pattern at random; of one length if it is fixed."""
    what = rng.integers(11) if depth else 0
    if what < 3:
        return str(rng.choice(LEAVES))
    if what == 3:
        return str(rng.choice(PLACES))
    inner = drawn(rng, depth - 1, fixed)
    if what == 4:
        return f"(?{rng.choice(['=', '!'])}{drawn(rng, depth - 1)})"
    if what == 5:
        return f"(?{rng.choice(['<=', '<!'])}{drawn(rng, depth - 1, True)})"
    if what < 8 and not fixed:
        return f"(?:{inner}){rng.choice(TIMES)}"
    if what == 8 and not fixed:
        return f"(?:{inner}|{drawn(rng, depth - 1)})"
    return inner + drawn(rng, depth - 1, fixed)


def texts(alphabet, example=""):
    """All short texts of the characters, and those near the example."""
    for n in range(LONGEST + 1):
        yield from map("".join, itertools.product(alphabet, repeat=n))
    if len(example) > LONGEST:
        yield example
    for i in range(len(example) + 1):
        yield example[:i] + example[i + 1 :]
        for c in alphabet:
            yield from (example[:i] + c + example[i:], example[:i] + c + example[i + 1 :])


def judged(pattern, alphabet, example=""):
    """States, texts, matches, differences and matches lost; why, of a pattern refused."""
    try:
        reader = smw.constraints.regex(pattern)
    except ValueError as error:
        return {"refused": str(error).removeprefix("pattern: ")}
    compiled, row = re.compile(pattern), {"texts": 0, "matches": 0, "differ": 0, "lost": 0}
    row["states"] = None if reader.table is None else len(reader.table)
    for text in set(texts(alphabet, example)):
        truth = compiled.fullmatch(text) is not None
        row["texts"] += 1
        row["matches"] += truth
        row["differ"] += reader.reads(text) != truth
        row["lost"] += truth and not reader.reads(text, True)
    return row


def by_chance(pattern, alphabet):
    """As `judged`, of a pattern over the characters of a short alphabet."""
    try:
        made = smw.constraints.regex(pattern, list(alphabet))
    except ValueError as error:
        # refused, too, is what no text matches
        assert "no text of these items" in str(error)
        made = None
    compiled, row = re.compile(pattern), {"texts": 0, "matches": 0, "differ": 0, "lost": 0}
    after = {"": None if made is None else made.start()}
    for n in range(LONGEST + 1):
        for text in map("".join, itertools.product(alphabet, repeat=n)):
            before = after[text[:-1]]
            if n:
                state = None if before is None else made.step(before, alphabet.index(text[-1]))
                after[text] = state
            truth = compiled.fullmatch(text) is not None
            row["texts"] += 1
            row["matches"] += truth
            row["differ"] += truth != (after[text] is not None and made.complete(after[text]))
            row["lost"] += truth and after[text] is None
    return row


def _give_up(*_):
    raise TimeoutError


def main(many):
    """Print and keep the table."""
    began, rows = time.process_time(), []
    for pattern, alphabet, example in REAL:
        alphabet = "".join(dict.fromkeys(alphabet))[:6]
        row = judged(pattern, alphabet, example)
        rows.append({"pattern": pattern, "alphabet": alphabet, **row})
    followed = [row for row in rows if "refused" not in row]
    never = [row["pattern"] for row in followed if not row["matches"]]
    total = {
        "patterns": len(rows),
        "refused": len(rows) - len(followed),
        "texts": sum(row["texts"] for row in followed),
        "differ": sum(row["differ"] for row in followed),
        "lost": sum(row["lost"] for row in followed),
        "never matched": never,
        "seconds": time.process_time() - began,
    }
    print(json.dumps(total, indent=1))
    began = time.process_time()
    chance = dict.fromkeys(("patterns", "texts", "matches", "differ", "lost", "never matched"), 0)
    chance["too slow for re"] = []
    signal.signal(signal.SIGALRM, _give_up)
    for seed in range(many):
        pattern = drawn(np.random.default_rng(seed), 5)
        signal.alarm(PATIENCE)
        try:
            row = by_chance(pattern, ("ab ", "a \n")[seed % 2])
        except TimeoutError:
            chance["too slow for re"].append(pattern)
            continue
        finally:
            signal.alarm(0)
        chance["patterns"] += 1
        chance["never matched"] += not row["matches"]
        for name in ("texts", "matches", "differ", "lost"):
            chance[name] += row[name]
        if row["differ"] or row["lost"]:
            print(seed, pattern, row, flush=True)
    chance["seconds"] = time.process_time() - began
    print(json.dumps(chance, indent=1))
    table = {"real": total, "random": chance, "each": rows}
    path = Path(__file__).parent / "results" / "patterns.json"
    path.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--random", type=int, default=10_000, help="patterns at random")
    main(parser.parse_args().random)
