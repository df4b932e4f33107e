"""The page: what was measured, how, on what, and where rwsgi is not first. Made from the JSON of the results alone."""

import json
import statistics
from pathlib import Path

import chart
from figures import FIGURES, ahead, rows_of, shown
from goals import goals
from servers import SERVERS
from workloads import WORKLOADS

# workload, figure, title, words
CHARTS = (
    ("hello", "rate", "Hello, connections kept: requests a second", "One process on one core. Longer is better."),
    ("django", "rate", "Django's polls: requests a second", "4 processes on one core, ab with 8 clients. Longer is better."),
    ("slow-2x4", "p99", "p99 of fast requests in milliseconds, while one request in ten sleeps 100 ms",
     "2 processes of 4 threads, 200 requests a second. Shorter is better."),
)


def load_results(directory):
    """What there is, in the order of the list."""
    paths = {name: Path(directory) / f"{name}.json" for name in WORKLOADS}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def cells(one, columns):
    found = []
    for number, key in enumerate(columns):
        text = shown(key, one.median(key))
        spread = one.spread(key)
        # The first figure has its spread, which is enough to judge the others by.
        if number == 0 and spread and spread[0] != spread[1]:
            text += f" ({shown(key, spread[0])}..{shown(key, spread[1])})"
        found.append(text)
    return found


def ordered(rows, workload):
    """Yardsticks first, then by the figure that counts, then those without a place."""
    key = workload.better
    sign = 1 if FIGURES[key][2] else -1

    def place(one):
        value = one.median(key)
        if one.is_yardstick:
            return (0, 0)
        return (1 if one.is_ranked else 2, sign * (value or 0))

    return sorted(rows, key=place)


def table_of(results, variant):
    """(heads, lines of cells) of a variant."""
    workload = WORKLOADS[results["workload"]]
    rows = ordered([one for one in rows_of(results, variant) if one.rounds], workload)
    columns = [key for key in workload.columns if any(one.values(key) for one in rows)]
    heads = ["server", "processes × threads"] + [FIGURES[key][0] for key in columns] + ["not ranked"]
    lines = [[one.label, one.shape, *cells(one, columns), one.trouble or ""] for one in rows]
    if not any(line[-1] for line in lines):
        heads, lines = heads[:-1], [line[:-1] for line in lines]
    return heads, lines


def refusals(results, variant):
    """Those that are in no table, and why."""
    return [f"{one.label}: {one.refused}" for one in rows_of(results, variant) if one.refused]


def as_text(results):
    """For the terminal."""
    found = [WORKLOADS[results["workload"]].title]
    for variant in results["variants"]:
        heads, lines = table_of(results, variant)
        widths = [max(len(line[column]) for line in [heads, *lines]) for column in range(len(heads))]
        found += [variant] if variant else []
        for line in [heads, *lines] if lines else []:
            found.append("  ".join(cell.ljust(width) if not number else cell.rjust(width)
                                   for number, (cell, width) in enumerate(zip(line, widths))).rstrip())
        found += [f"not measured: {words}" for words in refusals(results, variant)]
    return "\n".join(found)


def as_markdown(results):
    workload = WORKLOADS[results["workload"]]
    lines = [f"### {workload.title}", "", workload.words, ""]
    lines += [conditions(results), ""]
    for variant in results["variants"]:
        heads, body = table_of(results, variant)
        lines += [f"**{variant}**", ""] if variant else []
        if body:
            lines += ["| " + " | ".join(heads) + " |", "|" + "---|" + "---|" + "---:|" * (len(heads) - 2)]
            lines += ["| " + " | ".join(escaped(cell) for cell in line) + " |" for line in body] + [""]
        lines += [line for words in refusals(results, variant) for line in (f"Not measured: {escaped(words)}", "")]
    return lines


def conditions(results):
    length = f"{results['seconds']} s each" if WORKLOADS[results["workload"]].load.count == 0 else ""
    rounds = f"{results['rounds']} round" + "s" * (results["rounds"] > 1)
    pinned = "server on one core, load on another" if results["pinned"] else "nothing pinned"
    return f"*{', '.join(part for part in (rounds, length, pinned) if part)}.*"


def escaped(text):
    """Whatever a server said, it is text in a table and neither code nor a link."""
    return text.replace("|", "\\|").replace("`", "'").replace("<", "&lt;").replace("](", "] (").replace("\n", " ")


def not_first(all_results):
    """A line for each figure of each table in which somebody else is better."""
    lines = []
    for name, results in all_results.items():
        workload = WORKLOADS[name]
        for variant in results["variants"]:
            for key in (key for key in workload.columns if key in COMPARED):
                found = ahead(rows_of(results, variant), key)
                if not found:
                    continue
                where = workload.title + (f", {variant}" if variant else "")
                ours = found[0][1]
                peers = ", ".join(
                    f"{peer.label} {shown(key, peer.median(key))}" + ("" if far else " (within the spread)")
                    for peer, _, far in found
                )
                mine = f"{ours.label} {shown(key, ours.median(key))}"
                lines.append(f"- {where}, {FIGURES[key][0]}: {peers}; {mine}.")
    if not all_results:
        return ["Nothing has been measured yet."]
    return lines or ["None: in every table rwsgi is first by every figure compared."]


# What says how good a server is; the rest says what was done to it.
COMPARED = ("cpu", "rate", "p50", "p99", "max", "slow_p99", "pss", "ready", "kib_each", "cpu_ratio", "rate_ratio")


def goal_lines(all_results):
    lines = ["| Goal | Found | Met |", "|---|---|---|"]
    for words, figure, is_met in goals(all_results):
        met = {True: "yes", False: "**no**", None: "–"}[is_met]
        lines.append(f"| {escaped(words)} | {escaped(figure)} | {met} |")
    return lines


def charts(all_results, directory):
    """Writes them; the lines that show them."""
    lines = []
    for name, key, title, words in CHARTS:
        if name not in all_results:
            continue
        less_is_better = FIGURES[key][2]
        rows = [one for one in rows_of(all_results[name], "") if one.is_ranked or one.server == "floor"]
        rows = sorted((one for one in rows if one.median(key)), key=lambda one: one.median(key), reverse=not less_is_better)
        if not rows:
            continue
        bars = [(one.label, one.median(key), shown(key, one.median(key)), kind(one)) for one in rows]
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{name}.svg").write_text(chart.bars(title, words, bars))
        lines += [f"![{title}]({directory.name}/{name}.svg)", ""]
    return lines


def kind(one):
    return "yardstick" if one.is_yardstick else "ours" if one.is_ours else "peer"


def machine_lines(all_results):
    if not all_results:
        return ["None yet."]
    found = [results["machine"] for results in all_results.values()]
    last = max(found, key=lambda machine: machine["date"])
    dates = sorted({machine["date"] for machine in found})
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items() if version)
    programs = {results["rwsgi"] for results in all_results.values()}
    lines = [
        f"{last['processor']}, {last['cores']} cores, {last['memory_gib']} GiB, Linux {last['kernel']}; "
        f"measured {' to '.join(sorted({dates[0], dates[-1]}))}.",
        "",
        f"{versions}.",
    ]
    others = [
        one["others"]
        for results in all_results.values()
        for found in results["variants"].values()
        for rounds in found.values()
        for one in rounds
        if "others" in one
    ]
    if others:
        lines += ["", f"Beside a measurement, the rest of the machine used {statistics.median(others):.2f} cores (median; "
                  f"{max(others):.2f} at most)." + TOO_LOUD * (statistics.median(others) > QUIET)]
    if len(programs) > 1:
        lines += ["", f"The tables are not all of the same build of rwsgi: there were {len(programs)}."]
    return lines


def absent(all_results):
    """Servers that answered nowhere, and why."""
    reasons, seen = {}, set()
    for results in all_results.values():
        for variant in results["variants"]:
            for one in rows_of(results, variant):
                seen |= {one.server} if one.rounds else set()
                if one.refused:
                    reasons.setdefault(one.server, one.refused)
    lines = [f"- {SERVERS[name].label}: {escaped(why)}" for name, why in reasons.items() if name not in seen]
    return ["Left out, as they did not start:", "", *lines, ""] if lines else []


def write_page(directory, page):
    all_results = load_results(directory)
    page = Path(page)
    sections = [line for results in all_results.values() for line in as_markdown(results)]
    missing = [WORKLOADS[name].title for name in WORKLOADS if name not in all_results]
    lines = [
        *TOP,
        *charts(all_results, page.with_suffix("")),
        "## Where rwsgi is not first",
        "",
        *NOT_FIRST,
        *not_first(all_results),
        "",
        "## Goals",
        "",
        *GOALS,
        *goal_lines(all_results),
        "",
        "## Method",
        "",
        *METHOD,
        "## Machine and versions",
        "",
        *machine_lines(all_results),
        "",
        *absent(all_results),
        *([f"Not measured: {'; '.join(missing)}.", ""] if missing else []),
        *(["## Tables", "", *sections] if sections else []),
    ]
    page.write_text("\n".join(lines).rstrip() + "\n")


TOP = [
    "<!-- Written by benches/run.py from measurements; do not edit. -->",
    "# Benchmarks",
    "",
    "rwsgi beside the servers that one would take instead of it, on one machine in one run. Figures of other machines "
    "differ; run it on yours ([what it needs, and how to run a part](contributing.md#measuring)):",
    "",
    "```sh",
    "make bench        # hours, and it writes this page anew",
    "make bench-quick  # two minutes, and this page stays",
    "```",
    "",
]
# Cores. A daemon that wakes up now and then is below it, a compiler is above.
QUIET = 0.1
TOO_LOUD = " That is too much: these figures are worth little."
NOT_FIRST = [
    "Every table and figure in which a server without errors is better than the better one of rwsgi's two classes.",
    "",
]
GOALS = [
    "What rwsgi set out to reach. The floor is a C loop that copies a ready environ, calls the same application and sends "
    "what it gives at once: what is left when a server does next to nothing. It copies bodies, which rwsgi does not, and "
    "wakes its client for each response: around large bodies, and Flask, it is no floor.",
    "",
]
METHOD = [
    "- Each server is started anew for each measurement; servers take turns within a round, in an order that turns with "
    "the rounds. Figures are medians of the rounds, the first column with the smallest and the largest; a ratio is the "
    "median of the rounds' own ratios.",
    "- Before it is measured, a server has to give the body that the application itself gives, twice. A server with "
    "errors in a table stands at its end and has no rank.",
    "- CPU time is what the kernel counted for all processes of the server (nginx and Apache included where they are in "
    "front), divided by the requests answered. The load's is not in it.",
    "- Unless a table says otherwise the server's processes share one core and the load has the other: requests/s are "
    "those of one core. The load is wrk, ab, or a program of the benchmark's own.",
    "- Access logs are off, all else is as the server's documentation has it for production: time limits, limits of "
    "sizes, supervision by a master where there is one. [benches/servers.py](../benches/servers.py) has the command lines.",
    "- Where requests come at times drawn beforehand, latency counts from those times; how late the load itself was is in "
    "the table, and what is below that says nothing.",
    "- Memory is PSS: pages that several processes share are counted in part.",
    "- gunicorn runs with its parser in C, gunicorn_h1c, in the version given below, which is older than its extra "
    '"fast" asks for (0.6.14 could not be had) and new enough for gunicorn itself.',
    "- uWSGI's http-socket and gunicorn's sync workers keep no connections: where connections are kept they are opened "
    "anew for each request.",
    "",
]
