"""What a run looks like: a plot with one bar a ratio and its limit as a mark, and a table."""

from xml.sax.saxutils import escape

LEFT, WIDTH, ROW = 16, 440, 40


def svg(rows, path):
    shown = [r for r in rows if r.get("ratio") is not None]
    if not shown:
        return
    top = max(2.0, *(min(r["ratio"], 4.0) for r in shown), *(r["bar"] or 0 for r in shown))
    scale, height = WIDTH / top, 60 + ROW * len(shown)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" font-family="sans-serif" font-size="13">',
           '<rect width="100%" height="100%" fill="white"/>']
    for i, r in enumerate(shown):
        y, width = 16 + ROW * i, min(r["ratio"], top) * scale
        good = r["bar"] is None or (r["ratio"] >= r["bar"] if r["more_is_better"] else r["ratio"] <= r["bar"])
        note = "" if r["bar"] is None else f' (at {"least" if r["more_is_better"] else "most"} {r["bar"]:g})'
        out.append(f'<text x="{LEFT}" y="{y + 10}" fill="#333">{escape(r["what"])}</text>')
        out.append(f'<rect x="{LEFT}" y="{y + 15}" width="{max(width, 1):.1f}" height="13" fill="{"#3b6ea5" if good else "#b5533c"}"/>')
        if r["bar"] is not None:
            x = LEFT + r["bar"] * scale
            out.append(f'<line x1="{x:.1f}" y1="{y + 12}" x2="{x:.1f}" y2="{y + 31}" stroke="#111" stroke-width="2"/>')
        out.append(f'<text x="{LEFT + max(width, (r["bar"] or 0) * scale) + 8:.1f}" y="{y + 26}" fill="#333">{r["ratio"]:.2f}×{note}</text>')
    y = 16 + ROW * len(shown)
    out.append(f'<text x="{LEFT}" y="{y + 20}" fill="#666" font-size="12">times: less is better; throughput: more is '
               'better; the black marks are the limits kage sets itself</text>')
    out.append("</svg>")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")


BEGIN, END = "<!-- bench -->", "<!-- end of bench -->"


def markdown(machine, rows, path):
    """Puts the table between the two marks of the file."""
    out = [BEGIN, f'{machine["date"]}, {machine["cpus"]} processors, {machine["accelerator"]}, {machine["qemu"]}, '
           f'load at the end {machine["load"][0]:.1f}.', "", "| what | kage | other | ratio | limit |", "|---|---|---|---|---|"]
    for r in rows:
        unit, bar = r["unit"], ""
        if r["bar"] is not None:
            bar = f'{"≥" if r["more_is_better"] else "≤"} {r["bar"]:g}' + ("×" if r["ratio"] is not None else f" {unit}")
        other = "" if r["other"] is None else f'{r["other"]:.3g} {unit}'
        ratio = "" if r["ratio"] is None else f'{r["ratio"]:.2f}×'
        out.append(f'| {r["what"]} | {r["kage"]:.3g} {unit} | {other} | {ratio} | {bar} |')
    with open(path, encoding="utf-8") as f:
        text = f.read()
    before, rest = text.split(BEGIN, 1)
    with open(path, "w", encoding="utf-8") as f:
        f.write(before + "\n".join(out) + "\n" + END + rest.split(END, 1)[1])
