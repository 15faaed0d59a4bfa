// the demonstration's page is dark where this site is, whatever the reader's system
const frame = document.querySelector("iframe.demo");
if (frame) {
  const follow = () => {
    const dark = document.body.dataset.mdColorScheme === "slate";
    // null where the site is read from its folder: the system decides there
    frame.contentDocument?.documentElement?.style.setProperty("color-scheme", dark ? "dark" : "light");
  };
  frame.addEventListener("load", follow);
  new MutationObserver(follow).observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
  follow();
}
