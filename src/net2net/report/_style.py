"""How the page looks."""

STYLE = """
:root { --ink: #1f2933; --soft: #5b6773; --line: #e1e6ec; --accent: #0067b1; --paper: #fff; --back: #f4f6f9; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 40px 20px 60px; }
.brand { margin: 0; color: var(--accent); font-weight: 600; font-size: 14px; letter-spacing: .02em; }
h1 { margin: 4px 0 8px; font-size: clamp(26px, 4.4vw, 38px); line-height: 1.15; letter-spacing: -.01em; }
h2 { margin: 0 0 12px; font-size: 21px; }
h3 { margin: 22px 0 6px; font-size: 16px; }
.lead { margin: 0 0 26px; max-width: 720px; font-size: 18px; color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px; }
.card, section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; }
.card { padding: 16px 18px; }
.card p { margin: 0; color: var(--soft); font-size: 14px; }
.card strong { display: block; font-size: 25px; line-height: 1.3; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.card small { color: var(--soft); }
section { margin-top: 18px; padding: 24px; }
section > p { margin: 0 0 14px; max-width: 860px; }
figure { margin: 0 0 18px; }
figure svg { display: block; width: 100%; height: auto; }
.narrow { display: none; }
figcaption { margin-top: 6px; color: var(--soft); font-size: 14px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; font-variant-numeric: tabular-nums; }
th { text-align: left; vertical-align: bottom; color: var(--soft); font-weight: 600; font-size: 13px; }
th, td { padding: 8px 12px; border-bottom: 1px solid var(--line); }
td { vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
th:first-child, td:first-child { padding-left: 0; white-space: nowrap; }
.right { text-align: right; }
td.right { white-space: nowrap; }
.dot { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 8px; }
.badge { padding: 1px 9px; border-radius: 9px; font-size: 13px; }
.any, .exact { background: #dff3e8; color: #0b6b43; }
.multiple, .copies { background: #fdf0d0; color: #7a5200; }
.fixed { background: #eceff3; color: #5b6773; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: 13.5px; }
pre { margin: 10px 0; padding: 14px 16px; overflow-x: auto; background: var(--back); border-radius: 8px;
  line-height: 1.45; }
ul { margin: 0; padding-left: 20px; max-width: 860px; }
li { margin: 4px 0; }
summary { margin-top: 12px; cursor: pointer; color: var(--accent); }
@media (max-width: 640px) {
  .card { padding: 12px 14px; }
  .card strong { font-size: 19px; white-space: normal; }
  main { padding: 24px 12px 40px; }
  section { padding: 16px 14px; }
  .wide { display: none; }
  .narrow { display: block; }
  td { white-space: nowrap; }
}
"""
