"""What of a page a reader with poor sight, or with none, would miss."""

from typing import Any, cast

from tests.helpers.browser import Browser

_CONTROLS = {"button", "link", "textbox", "searchbox", "combobox", "slider", "checkbox", "spinbutton", "progressbar"}
#: Contrast as WCAG 2.2 counts it: 4.5 for text, 3 for large text and for the edges of fields (level AA).
_UNREADABLE = """
const channel = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const parse = (text) => { const n = text.match(/[0-9.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
const over = (top, below) => top.slice(0, 3).map((v, i) => v * top[3] + below[i] * (1 - top[3]));
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((m, n) => n - m); return (x + 0.05) / (y + 0.05); };
const behind = (e) => {
  const layers = [];
  for (; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour[3] > 0) layers.push(colour);
    if (colour[3] === 1) break;
  }
  return layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255]);
};
const seen = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && e.getClientRects().length;
const root = document.querySelector("dialog[open]") ?? document.body;
const wrong = [];
for (const e of root.querySelectorAll("*")) {
  if (!seen(e) || e.closest(":disabled, .away, svg, option, datalist")) continue;
  const style = getComputedStyle(e);
  if ([...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim())) {
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const found = ratio(over(parse(style.color), behind(e)), behind(e));
    if (found < least) wrong.push(`${found.toFixed(2)} ${e.tagName} ${e.className} ${e.textContent.trim()}`);
  }
  if (e.matches("input:not([type=checkbox], [type=range]), select, textarea") && parseFloat(style.borderTopWidth)) {
    const found = ratio(over(parse(style.borderTopColor), behind(e.parentElement)), behind(e.parentElement));
    if (found < 3) wrong.push(`${found.toFixed(2)} edge of ${e.id}`);
  }
}
return wrong;
"""


def unreadable(browser: Browser) -> list[str]:
    """Return the visible texts, and the edges of fields, whose contrast is below WCAG's level AA."""
    return [str(line) for line in cast(list[object], browser.script(_UNREADABLE))]


def nameless(browser: Browser) -> list[str]:
    """Return the roles of the controls that a screen reader meets and has no name for."""
    tree = cast(dict[str, Any], browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {}))
    return [
        node["role"]["value"]
        for node in tree["nodes"]
        if not node.get("ignored")
        and node.get("role", {}).get("value") in _CONTROLS
        and not node.get("name", {}).get("value", "").strip()
    ]
