// What jupyterquiz and the theme leave out for those who read without eyes or without a mouse.
document.addEventListener("DOMContentLoaded", () => {
    // The name of a field, and word of a verdict.
    for (const label of document.querySelectorAll(".Quiz .InpLabel")) label.htmlFor = label.nextElementSibling.id;
    for (const feedback of document.querySelectorAll(".Quiz .Feedback")) feedback.setAttribute("role", "status");
    // The arrow that unfolds the pages below one in the list of pages.
    for (const arrow of document.querySelectorAll(".bd-sidebar-primary summary"))
        arrow.ariaLabel = `Pages of ${arrow.closest("li").querySelector("a").textContent}`;
    // What folds code is called what it says.
    for (const summary of document.querySelectorAll("details.hide > summary")) summary.removeAttribute("aria-label");
});
// A formula is a stop of the Tab key where it scrolls, and only there.
const reach = () => {
    // One with a number scrolls within the frame around it, one in a line of text sideways only.
    for (const formula of document.querySelectorAll('mjx-container[display="true"], .math')) {
        const high = !formula.matches("span") && formula.scrollHeight > formula.clientHeight;
        if (high || formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
        else formula.removeAttribute("tabindex");
    }
};
window.addEventListener("load", () => window.MathJax?.startup?.promise.then(reach));
window.addEventListener("resize", reach);
// The theme makes what scrolls a stop of the Tab key after a change of size, and so after this, too.
document.addEventListener("toggle", () => window.dispatchEvent(new Event("resize")), true);
