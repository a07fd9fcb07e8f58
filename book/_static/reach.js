// What jupyterquiz and the theme leave out for those who read without eyes or without a mouse.
document.addEventListener("DOMContentLoaded", () => {
    // The name of a field, and word of a verdict.
    for (const label of document.querySelectorAll(".Quiz .InpLabel")) label.htmlFor = label.nextElementSibling.id;
    for (const feedback of document.querySelectorAll(".Quiz .Feedback")) feedback.setAttribute("role", "status");
    // The arrow that unfolds the pages below one in the list of pages.
    for (const arrow of document.querySelectorAll(".bd-sidebar-primary summary"))
        arrow.ariaLabel = `Pages of ${arrow.closest("li").querySelector("a").textContent}`;
});
// The theme makes what scrolls a stop of the Tab key after a change of size, and so after this, too.
document.addEventListener("toggle", () => window.dispatchEvent(new Event("resize")), true);
