// @ts-check
// The page's part: the model runs in a worker, and the AI SDK asks it.
import { streamText } from 'ai';
import { createLfm } from 'lfm/ai';
import { loadInTab } from 'lfm/worker';

const [state, text, form, button] = ['#state', '#text', 'form', 'button'].map((name) => document.querySelector(name));
if (!state || !text || !(form instanceof HTMLFormElement) || !(button instanceof HTMLButtonElement))
  throw new Error('index.html lacks an element');

const model = await loadInTab('/models/brook-123m', {
  worker: '/lfm/worker.js',
  onProgress: ({ stage, doneBytes, totalBytes }) => {
    state.textContent = `${stage}: ${Math.round((100 * doneBytes) / totalBytes)}%`;
  },
});
// Tells how many threads there are, and why where there is only one.
state.textContent = model.info.engine;
button.disabled = false;

const lfm = createLfm({ models: { 'brook-123m': model } });
form.addEventListener('submit', async (event) => {
  event.preventDefault();
  button.disabled = true;
  const prompt = String(new FormData(form).get('prompt'));
  text.textContent = '';
  const { textStream, finishReason } = streamText({
    model: lfm('brook-123m'),
    prompt,
    maxOutputTokens: 40,
    temperature: 0,
  });
  for await (const piece of textStream) text.textContent += piece;
  text.setAttribute('data-finish', await finishReason);
  button.disabled = false;
});
