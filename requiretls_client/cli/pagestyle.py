"""The style sheet of the page. Data only; the page's policy allows this very text by its hash."""

STYLE = """
:root { color-scheme: light dark;
  --back: #f6f6f3; --card: #ffffff; --ink: #1b1f23; --dim: #57606a; --line: #d8dce0;
  --good: #116a37; --note: #7f4c00; --fail: #ad211a; --open: #57606a; --link: #0b5394;
  --good-back: #e4f3e9; --note-back: #fcf0d9; --fail-back: #fbe7e5; }
@media (prefers-color-scheme: dark) { :root {
  --back: #121518; --card: #1b2024; --ink: #e9ebee; --dim: #a6b0b9; --line: #363d44;
  --good: #74d69a; --note: #f1bd63; --fail: #ff9d92; --open: #a6b0b9; --link: #8ec1ff;
  --good-back: #13311f; --note-back: #35280f; --fail-back: #3b1c19; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; }
main { max-width: 1172px; margin: 0 auto; padding: 32px 24px 48px; }
h1, h2 { margin: 0; font-size: 30px; line-height: 1.2; font-weight: 650; letter-spacing: -.01em; }
h3 { margin: 32px 0 10px; font-size: 14px; font-weight: 600; color: var(--dim); }
p { margin: 0; }
a { color: var(--link); }
.kicker { color: var(--dim); font-size: 14px; margin-bottom: 4px; }
.good { --state: var(--good); --state-back: var(--good-back); }
.note { --state: var(--note); --state-back: var(--note-back); }
.fail { --state: var(--fail); --state-back: var(--fail-back); }
.open { --state: var(--open); --state-back: transparent; }
article { padding-bottom: 40px; }
article + article { border-top: 1px solid var(--line); padding-top: 40px; }
.verdict { display: flex; flex-wrap: wrap; gap: 2px 16px; align-items: baseline;
  margin: 16px 0 0; padding: 14px 18px; border-radius: 10px;
  background: var(--state-back); color: var(--state); font-size: 18px; font-weight: 650; }
.verdict span { font-size: 15px; font-weight: 400; color: var(--ink); }
.fates { display: grid; grid-template-columns: repeat(3, 1fr); gap: 12px; margin: 12px 0 0; }
.fates div { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px 16px 14px; }
.fates dt { font-size: 14px; color: var(--dim); }
.fates dd { margin: 2px 0 0; }
.sign { color: var(--state); font-weight: 700; }
figure { margin: 28px 0 0; }
figcaption { margin-top: 10px; font-size: 13px; color: var(--dim); }
svg { display: block; width: 100%; height: auto; }
svg.narrow { display: none; }
svg text { font-family: inherit; fill: var(--ink); }
svg .name { font-size: 15px; font-weight: 600; }
svg .what { font-size: 13px; fill: var(--state); }
svg .word { font-size: 12px; fill: var(--state); text-anchor: middle; }
svg .word.down { text-anchor: start; }
svg rect { fill: var(--card); stroke: var(--line); stroke-width: 1.5; }
svg .good rect, svg .note rect, svg .fail rect { stroke: var(--state); }
.trunk { fill: none; stroke: var(--line); stroke-width: 2; }
.edge { fill: none; stroke: var(--state); stroke-width: 2.5; }
.edge.note { stroke-dasharray: 9 5; }
.edge.fail { stroke-dasharray: 3 5; }
.edge.open { stroke-dasharray: 1 5; stroke-linecap: round; }
.head { fill: var(--state); }
.rows { list-style: none; margin: 0; padding: 0; }
.rows > li { display: grid; grid-template-columns: 22px 128px 1fr; gap: 0 8px; padding: 7px 0; }
.rows > li + li { border-top: 1px solid var(--line); }
.rows .label { color: var(--dim); }
.rows .open { color: var(--dim); }
.rows dl { grid-column: 3; display: grid; grid-template-columns: max-content 1fr; gap: 2px 12px;
  margin: 6px 0 2px; padding: 8px 12px; border-radius: 8px; background: var(--state-back); }
.rows dt { font-weight: 600; }
.rows dd { margin: 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 5px 18px; }
details { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  margin-top: 10px; }
summary { position: relative; display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 10px;
  padding: 12px 44px 12px 18px; font-weight: 600; list-style: none; cursor: pointer; }
summary::-webkit-details-marker { display: none; }
summary::after { content: "+"; position: absolute; right: 18px; top: 12px;
  color: var(--dim); font-weight: 400; }
details[open] > summary::after { content: "\\2013"; }
summary:focus-visible, a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px;
  border-radius: 10px; }
summary .number { color: var(--dim); font-weight: 400; }
summary .state { color: var(--state); font-weight: 400; font-size: 14px; }
details > .rows { padding: 0 18px 8px; border-top: 1px solid var(--line); }
.index { margin: 16px 0 40px; }
.index li { grid-template-columns: 22px minmax(0, 1fr) minmax(0, 1.6fr); }
footer { color: var(--dim); font-size: 13px; border-top: 1px solid var(--line); padding-top: 16px; }
@media (max-width: 720px) {
  main { padding: 20px 16px 32px; }
  h1, h2 { font-size: 24px; }
  .fates { grid-template-columns: 1fr; gap: 8px; }
  svg.wide { display: none; }
  svg.narrow { display: block; }
  .rows > li { grid-template-columns: 22px 1fr; }
  .rows .text, .rows dl { grid-column: 2; }
  .index li { grid-template-columns: 22px minmax(0, 1fr); }
}
@media print {
  :root { --back: #fff; --card: #fff; --ink: #000; --dim: #444; --line: #bbb;
    --good: #0b5a2c; --note: #6b3f00; --fail: #98170f; --open: #444;
    --good-back: #fff; --note-back: #fff; --fail-back: #fff; }
  body { font-size: 12px; }
  main { padding: 0; max-width: none; }
  .verdict { border: 1px solid var(--state); }
  figure, details, .card, .fates div { break-inside: avoid; }
  details::details-content { content-visibility: visible; height: auto; }
  details > summary::after, details[open] > summary::after { content: none; }
}
"""
