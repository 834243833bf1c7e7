// Makes the page one with the UI around it: theme, time zone, links that leave the frame, and, for a
// tab of a Dag, the frame's state in the address of the UI. Without it the page works, on its own.
(() => {
  "use strict";
  const root = document.documentElement;
  let outer = null;
  try {
    if (window.parent !== window && window.parent.document) outer = window.parent;
  } catch {
    outer = null; // framed by another origin
  }

  const stored = (name) => {
    try {
      const text = localStorage.getItem(name);
      return text === null ? null : text.replace(/^"|"$/g, "");
    } catch {
      return null;
    }
  };

  const applyTheme = () => {
    const classes = outer ? outer.document.documentElement.classList : null;
    const dark = classes && (classes.contains("dark") || classes.contains("light"))
      ? classes.contains("dark")
      : ["dark", "light"].includes(stored("theme"))
        ? stored("theme") === "dark"
        : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "dark" : "light";
  };
  applyTheme();
  if (outer) {
    root.dataset.framed = "";
    new MutationObserver(applyTheme).observe(outer.document.documentElement, {
      attributes: true,
      attributeFilter: ["class"],
    });
  }

  // The tab of a Dag: what the frame shows stands in the UI's address, and the other way round.
  const names = ["view", "event", "day", "key", "offset", "table", "read", "span"];
  const isTab = outer && /\/dags\/[^/]+\/plugin\//.test(outer.location.pathname);
  if (isTab) {
    const inner = new URLSearchParams(location.search);
    const shown = new URLSearchParams(outer.location.search);
    const given = names.filter((name) => inner.has(name));
    const wanted = names.filter((name) => shown.has(name));
    if (!given.length && wanted.length && !outer.lakeTabSeen) {
      for (const name of wanted) inner.set(name, shown.get(name));
      outer.lakeTabSeen = true;
      location.replace(`${location.pathname}?${inner}`);
      return;
    }
    outer.lakeTabSeen = true;
    for (const name of names) shown.delete(name);
    for (const name of given) if (inner.get(name)) shown.set(name, inner.get(name));
    const search = shown.toString();
    const address = outer.location.pathname + (search ? `?${search}` : "");
    outer.history.replaceState(outer.history.state, "", address);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const zone = stored("timezone") || Intl.DateTimeFormat().resolvedOptions().timeZone;
    let format;
    try {
      format = new Intl.DateTimeFormat("sv-SE", {
        dateStyle: "short", timeStyle: "short", timeZone: zone,
      });
    } catch {
      return;
    }
    const now = Date.now();
    for (const time of document.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      time.title = `${time.textContent} (${zone}: ${format.format(at)})`;
      time.textContent = `${format.format(at)} (${ago((now - at) / 1000)})`;
    }
    for (const select of document.querySelectorAll("form select")) {
      select.addEventListener("change", () => select.form.requestSubmit());
    }
  });

  const ago = (seconds) => {
    const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
    const [unit, length] = units.find(([, size]) => Math.abs(seconds) >= size) || units[3];
    return new Intl.RelativeTimeFormat("en", { numeric: "always", style: "narrow" })
      .format(-Math.trunc(seconds / length), unit);
  };

  // The frame may not move the UI; a link in the UI's own document may.
  document.addEventListener("click", (event) => {
    const link = event.target.closest ? event.target.closest("a[data-outer]") : null;
    if (!link || !outer || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const copy = outer.document.createElement("a");
    copy.href = link.href;
    outer.document.body.append(copy);
    copy.click();
    copy.remove();
  });
})();
