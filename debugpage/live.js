// Every two seconds the page is asked for again, and what is marked as live replaced by
// what it says now: except where the focus or a selection is.
(() => {
  "use strict";
  const every = 2000, pause = document.getElementById("pause"), lost = document.getElementById("lost");
  const here = new URL(location.href), cache = here.searchParams.get("cache") || new FormData(document.forms[0]).get("cache");
  here.hash = "";
  here.search = cache ? "?" + new URLSearchParams({cache}) : "";

  const busy = e => {
    const s = getSelection();
    return e !== document.activeElement && e.contains(document.activeElement) || s.type === "Range" && s.containsNode(e, true);
  };

  function replace(old, fresh) {
    const scrolled = old.scrollTop, focused = old === document.activeElement;
    old.replaceWith(document.adoptNode(fresh));
    fresh.scrollTop = scrolled;
    if (focused) fresh.focus({preventScroll: true});
  }

  async function refresh() {
    const answer = await fetch(here, {cache: "no-store", signal: AbortSignal.timeout(10000)});
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!answer.ok || !fresh.getElementById("glance")) throw new Error("this is another page");
    for (const old of document.querySelectorAll("[data-live]")) {
      if (!busy(old)) replace(old, fresh.getElementById(old.id));
    }
  }

  async function run() {
    if (pause.ariaPressed !== "true" && !document.hidden) {
      await refresh().then(() => { lost.hidden = true; }, () => { lost.hidden = false; });
    }
    setTimeout(run, every);
  }

  pause.hidden = false;
  pause.addEventListener("click", () => { pause.ariaPressed = String(pause.ariaPressed !== "true"); });
  setTimeout(run, every);
})();
