// Search, links into closed findings, and everything open in print. No handler stands in the page itself.
const get = (id) => document.getElementById(id);
const find = get("find");
const folds = [...document.querySelectorAll("details")];
const sections = [...document.querySelectorAll("section")];
// what is searched: (element, its text), of which only the outermost hides
const all = [...document.querySelectorAll("[data-text]")].map((element) => ({
  element,
  text: (element.dataset.text + " " + element.textContent).toLowerCase(),
}));

get("bar").hidden = false;

const search = () => {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const { element, text } of all) {
    const matches = words.every((word) => text.includes(word));
    element.hidden = !matches;
    left += matches;
  }
  for (const section of sections) {
    const own = section.querySelectorAll("[data-text]");
    section.hidden = words.length > 0 && ![...own].some((element) => !element.hidden);
  }
  get("none").hidden = left > 0 || !words.length;
  get("shown").textContent = words.length ? `${left} of ${all.length}` : "";
};

find.addEventListener("input", search);
get("open").addEventListener("click", () => folds.forEach((one) => (one.open = true)));
get("close").addEventListener("click", () => folds.forEach((one) => (one.open = false)));

addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== find) {
    event.preventDefault();
    find.focus();
  }
  if (event.key === "Escape" && document.activeElement === find) {
    find.value = "";
    search();
  }
});

// paper cannot be opened; afterwards it is as it was
let closed = [];
addEventListener("beforeprint", () => {
  closed = folds.filter((one) => !one.open);
  closed.forEach((one) => (one.open = true));
});
addEventListener("afterprint", () => closed.forEach((one) => (one.open = false)));

const openTarget = () => {
  const target = get(location.hash.slice(1));
  if (!target || !target.matches("[data-text]")) return;
  if (target.hidden) {
    find.value = "";
    search();
  }
  if (target.tagName === "DETAILS") target.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", openTarget);
openTarget();
