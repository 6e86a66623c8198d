// The page: a strip of all classes in one style, and a matrix that gives the class of one picture the style of another.
// One request is in flight at a time; when the controls have moved on meanwhile, the newest state is asked for next.

const $ = (id) => document.getElementById(id);
const MAX_SIDE = 8; // 8 x 8 cells are the most one request may ask for

// ---------------------------------------------------------------------------------------------------------------- asking

class Refused extends Error {}

let turn = Promise.resolve();

// Requests of the whole page take turns.
function ask(url, options) {
  const answered = turn.then(() => send(url, options));
  turn = answered.catch(() => {});
  return answered;
}

let retry = 0;

async function send(url, options) {
  let answer;
  try {
    answer = await fetch(url, options);
  } catch {
    setState("down", "no answer; trying again");
    clearTimeout(retry);
    retry = setTimeout(greet, 2000);
    throw new Refused("The server does not answer. Everything stays as it is; trying again.");
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Refused(problem.detail ?? "The server refused this.");
}

const post = async (url, fields) =>
  (await ask(url, { method: "POST", headers: { "content-type": "application/json", accept: "application/json" }, body: JSON.stringify(fields) })).json();

// Runs `work` once at a time. A call while it runs makes it run once more afterwards, with whatever is newest then.
function newestWins(work, errorId) {
  let running = false;
  let again = false;
  return async function run() {
    if (running) {
      again = true;
      return;
    }
    running = true;
    do {
      again = false;
      try {
        await work(() => again);
        $(errorId).textContent = "";
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        $(errorId).textContent = error.message;
      }
    } while (again);
    running = false;
  };
}

function setState(kind, text) {
  $("state").className = `state ${kind}`;
  $("state").textContent = text;
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const picture = (base64, alt) => element("img", { class: "picture", alt, src: `data:image/png;base64,${base64}`, draggable: "false" });

// ----------------------------------------------------------------------------------------------------------------- state

let card = null;
let classes = [];
const rows = []; // {image, name}: pictures that give their class
const columns = []; // {image, name}: pictures that give their style

async function greet() {
  try {
    await open();
  } catch (error) {
    if (!(error instanceof Refused)) throw error; // it is said where the state is shown
  }
}

async function open() {
  const began = performance.now();
  const listed = await (await ask("models")).json();
  setState("up", `ready, ${Math.max(1, Math.round(performance.now() - began))} ms`);
  if (card) {
    drawStrip();
    drawMatrix();
    return;
  }
  const found = listed.models.find((model) => model.name === listed.default);
  $("model").textContent = `${found.id} · ${found.dims.classes} classes · class ${found.dims.dim_s}-d · style ${found.dims.dim_u}-d`;
  classes = (await (await ask(`models/${found.name}/classes`)).json()).classes;
  card = found;
  makeStrip();
  drawStrip();
  await fillMatrix();
  drawMatrix();
}

// ----------------------------------------------------------------------------------------------------------------- strip

function makeStrip() {
  $("strip").replaceChildren(
    ...classes.map(({ name }) =>
      element("li", {}, element("img", { class: "picture", alt: "", draggable: "false" }), element("span", { class: "name", title: name }, name)),
    ),
  );
}

function readSeed() {
  const text = $("seed").value.trim();
  const fits = /^(0|[1-9][0-9]{0,18})$/.test(text) && BigInt(text) < 2n ** 63n;
  $("seed").setAttribute("aria-invalid", String(!fits));
  if (!fits) throw new Refused("The seed must be a whole number from 0 to 9223372036854775807.");
  return text;
}

const drawStrip = newestWins(async (isStale) => {
  const seed = readSeed();
  const spread = $("spread").value;
  for (const { index, name } of classes) {
    const query = new URLSearchParams({ class: index, seed, temperature: spread, model: card.name });
    const drawn = await (await ask(`generate?${query}`)).blob();
    const image = $("strip").children[index].querySelector("img");
    if (image.src) URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(drawn);
    image.alt = `${name}, generated with style seed ${seed}`;
    if (isStale()) return;
  }
  $("strip").dataset.drawn = `${seed} ${spread}`;
}, "strip-error");

function rollSeed() {
  $("seed").value = String(crypto.getRandomValues(new Uint32Array(1))[0]);
  drawStrip();
}

// ---------------------------------------------------------------------------------------------------------------- matrix

async function fillMatrix() {
  let examples = await (await ask(`models/${card.name}/examples`)).json();
  const perClass = new Map();
  for (const one of examples) if (!perClass.has(one.class.index)) perClass.set(one.class.index, one);
  examples = [...perClass.values()].slice(0, 6);
  if (examples.length === 0) {
    for (const { index } of classes.slice(0, 6)) {
      const drawn = await post("generate", { class: index, seed: index, model: card.name });
      examples.push(drawn.images[0]);
    }
  }
  for (const { image, class: { name } } of examples) {
    rows.push({ image, name });
    columns.push({ image, name });
  }
}

const drawMatrix = newestWins(async () => {
  $("matrix").classList.add("busy");
  try {
    const [shownRows, shownColumns] = [[...rows], [...columns]];
    const fields = { class_from: shownRows.map((one) => one.image), style_from: shownColumns.map((one) => one.image), verdict: true, model: card.name };
    showMatrix(shownRows, shownColumns, await post("swap", fields));
  } finally {
    $("matrix").classList.remove("busy");
  }
}, "matrix-error");

function showMatrix(shownRows, shownColumns, answer) {
  const head = element("tr", {}, cornerCell(), ...shownColumns.map((one, k) => headerCell(one, columns, k, "style")));
  const body = shownRows.map((row, r) =>
    element("tr", {}, headerCell(row, rows, r, "class"), ...shownColumns.map((column, c) => swapCell(row, column, answer.images[r * answer.cols + c]))),
  );
  const table = element("table", { class: "matrix", "aria-label": "Rows give the class, columns give the style" }, element("thead", {}, head), element("tbody", {}, ...body));
  $("matrix").style.setProperty("--cell", `clamp(34px, calc((min(100vw, 1040px) - 76px) / ${shownColumns.length + 1} - 5px), 108px)`);
  $("matrix").replaceChildren(table);
  const kept = answer.images.filter((one) => one.verdict.kept).length;
  const said = [...new Set([...answer.notes.class_from, ...answer.notes.style_from].flat())];
  $("matrix-foot").replaceChildren("class kept ", element("b", {}, `${kept}/${answer.images.length}`), said.length ? ` · ${said.join(", ")}` : "");
}

function cornerCell() {
  return element(
    "td",
    { class: "corner" },
    element("span", { class: "style-word" }, "style →"),
    element("br"),
    element("span", { class: "class-word" }, "class ↓"),
  );
}

function headerCell(one, list, at, role) {
  const gives = role === "class" ? "gives the class" : "gives the style";
  const frame = element("div", { class: "frame" }, picture(one.image, `${one.name}, ${gives}`));
  if (list.length > 1) {
    const remove = element("button", { type: "button", class: "remove", "aria-label": `Remove ${one.name}, which ${gives}` }, "×");
    remove.addEventListener("click", () => {
      list.splice(at, 1);
      drawMatrix();
    });
    frame.append(remove);
  }
  return element("th", { class: `of-${role}`, scope: role === "class" ? "row" : "col" }, frame, element("span", { class: "caption", title: one.name }, one.name));
}

function swapCell(row, column, made) {
  const { kept, class: read, by = "encoder" } = made.verdict;
  const verdict = kept ? "class kept" : `class lost, read as ${read.name}`;
  const title = `class of ${row.name}, style of ${column.name}: ${verdict} (${Math.round(read.prob * 100)} %, read by the ${by})`;
  const mark = element("span", { class: kept ? "mark" : "mark lost", "aria-hidden": "true" }, kept ? "✓" : "✗");
  return element("td", { title }, element("div", { class: "frame" }, picture(made.image, title), mark));
}

async function addPicture(file, list) {
  if (list.length >= MAX_SIDE) {
    $("matrix-error").textContent = `There is room for ${MAX_SIDE}; remove one first.`;
    return;
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  let binary = "";
  for (let at = 0; at < bytes.length; at += 32768) binary += String.fromCharCode(...bytes.subarray(at, at + 32768));
  const image = btoa(binary);
  try {
    await post("encode", { images: [image], model: card.name }); // a picture that is refused never enters the matrix
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    $("matrix-error").textContent = error.message;
    return;
  }
  list.push({ image, name: "yours" });
  drawMatrix();
}

function acceptPictures(dropId, pickId, list) {
  const drop = $(dropId);
  $(pickId).addEventListener("change", ({ target }) => {
    for (const file of target.files) addPicture(file, list);
    target.value = "";
  });
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    for (const file of event.dataTransfer.files) addPicture(file, list);
  });
}

// ----------------------------------------------------------------------------------------------------------------- theme

const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function nameTheme() {
  $("theme").textContent = isDark() ? "Light" : "Dark";
}

$("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
  try {
    localStorage.setItem("twofold-theme", document.documentElement.dataset.theme);
  } catch {
    // storage is switched off: the choice lasts as long as the page
  }
});

// ----------------------------------------------------------------------------------------------------------------- start

nameTheme();
$("seed").value = "6";
$("seed").addEventListener("input", drawStrip);
$("dice").addEventListener("click", rollSeed);
$("spread").addEventListener("input", () => {
  $("spread-value").textContent = Number($("spread").value).toFixed(1);
  drawStrip();
});
acceptPictures("drop-class", "pick-class", rows);
acceptPictures("drop-style", "pick-style", columns);
greet();
