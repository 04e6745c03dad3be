(own) => [...document.querySelectorAll("#log .said, #log .notice")].map((row) => {
    const words = row.querySelector(".text").textContent;
    if (row.matches(".notice")) return "* " + words;
    if (row.matches(".action")) return "** " + words;
    const name = row.matches(".own") ? own : row.querySelector(".name").textContent;
    return "[" + name + "] " + words;
})
