// Search, links into closed findings, and everything open in print. No handler stands in the page itself.
const find = document.getElementById("find");
const none = document.getElementById("none");
const all = [...document.querySelectorAll("[data-text]")];

find.addEventListener("input", () => {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const element of all) {
    const text = (element.dataset.text + " " + element.textContent).toLowerCase();
    const matches = words.every((word) => text.includes(word));
    element.hidden = !matches;
    left += matches;
  }
  none.hidden = left > 0;
});

addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== find) {
    event.preventDefault();
    find.focus();
  }
  if (event.key === "Escape" && document.activeElement === find) {
    find.value = "";
    find.dispatchEvent(new Event("input"));
  }
});

addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));

const openTarget = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
};
addEventListener("hashchange", openTarget);
openTarget();
