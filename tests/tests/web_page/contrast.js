(() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const light = (color) => {
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((part) => {
            const share = part / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const name = document.querySelector("#log .name");
    const grounds = ["--ground", "--panel"].map((ground) =>
        light(getComputedStyle(document.documentElement).getPropertyValue(ground).trim()));
    const contrasts = Array.from({ length: 360 }, (_, hue) => {
        name.style.setProperty("--hue", hue);
        const ink = light(getComputedStyle(name).color);
        return grounds.map((ground) => (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05));
    });
    return Math.min(...contrasts.flat());
})()
