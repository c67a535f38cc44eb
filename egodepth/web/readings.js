// The distances under the pointer. Runs in the page, see gr.HTML: `element`, `props` and `watch` are given.
const picture = element.querySelector("img");
const plot = element.querySelector(".plot");
const cross = element.querySelector(".cross");
const line = element.querySelector("output");
let grid = null;

function read() {
  const value = props.value;
  grid = null;
  cross.hidden = true;
  picture.hidden = !value;
  if (!value) {
    line.textContent = line.dataset.empty;
    return;
  }
  const bytes = Uint8Array.from(atob(value.steps), (letter) => letter.charCodeAt(0));
  grid = { ...value, steps: new Uint16Array(bytes.buffer) };
  picture.src = value.url;
  line.textContent = line.dataset.ready;
}

function say(event) {
  if (!grid) return;
  const box = picture.getBoundingClientRect();
  const across = (event.clientX - box.left) / box.width;
  const down = (event.clientY - box.top) / box.height;
  if (across < 0 || across >= 1 || down < 0 || down >= 1) return;
  const column = Math.floor(across * grid.columns);
  const row = Math.floor(down * grid.rows);
  const steps = grid.steps[row * grid.columns + column];
  cross.hidden = false;
  cross.style.left = `${100 * across}%`;
  cross.style.top = `${100 * down}%`;
  if (steps === 65535) {
    line.textContent = "no distance here";
    return;
  }
  const distance = steps * grid.step;
  const digits = distance < 10 ? 2 : 1;
  line.textContent = grid.unit ? `${distance.toFixed(digits)} ${grid.unit}` : `${distance.toPrecision(3)} (up to scale)`;
}

plot.addEventListener("pointermove", say);
plot.addEventListener("pointerdown", say);
watch("value", read);
read();
