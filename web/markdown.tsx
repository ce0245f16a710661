// Markdown as elements, made from the parser's tokens: there is no HTML text on the way, so what a model says cannot become any.
import type { MarkedToken, Token, Tokens } from 'marked';
import { lexer } from 'marked';
import type { ComponentChildren, VNode } from 'preact';
import { useMemo } from 'preact/hooks';

export function Markdown({ text }: { readonly text: string }): VNode {
  return (
    <div class="markdown">
      {lexer(text).map((token, index) => (
        <Block key={index} token={token} />
      ))}
    </div>
  );
}

/** One that has not changed is not drawn again while the last one grows. */
function Block({ token }: { readonly token: Token }): VNode {
  return useMemo(() => <>{draw(token)}</>, [token.type, token.raw]);
}

/** Without extensions the parser makes no other tokens. */
function isMarked(token: Token): token is MarkedToken {
  return token.type !== '';
}

function drawAll(tokens: readonly Token[] = []): ComponentChildren {
  return tokens.map(draw);
}

function draw(token: Token): ComponentChildren {
  if (!isMarked(token)) return null;
  switch (token.type) {
    case 'space':
    case 'def':
      return null;
    case 'heading':
      return heading(token);
    case 'paragraph':
      return <p>{drawAll(token.tokens)}</p>;
    case 'blockquote':
      return <blockquote>{drawAll(token.tokens)}</blockquote>;
    case 'code':
      return (
        <pre tabIndex={0} aria-label={token.lang ? `Code, ${token.lang}` : 'Code'} role="region">
          <code>{token.text}</code>
        </pre>
      );
    case 'list':
      return token.ordered ? (
        <ol start={token.start === '' ? 1 : token.start}>{drawAll(token.items)}</ol>
      ) : (
        <ul>{drawAll(token.items)}</ul>
      );
    case 'list_item':
      return <li>{drawAll(token.tokens)}</li>;
    case 'checkbox':
      return token.checked ? '☑ ' : '☐ ';
    case 'table':
      return table(token);
    case 'hr':
      return <hr />;
    case 'br':
      return <br />;
    case 'strong':
      return <strong>{drawAll(token.tokens)}</strong>;
    case 'em':
      return <em>{drawAll(token.tokens)}</em>;
    case 'del':
      return <del>{drawAll(token.tokens)}</del>;
    case 'codespan':
      return <code>{token.text}</code>;
    case 'link':
      return link(token.href, drawAll(token.tokens));
    // Not loaded: an address that a model wrote would be told what was said.
    case 'image':
      return link(token.href, `image: ${token.text || token.href}`);
    case 'html':
      return token.raw;
    case 'text':
    case 'escape':
      return 'tokens' in token ? drawAll(token.tokens) : plain(token.text);
  }
}

/** Below the headings of the page itself. */
function heading({ depth, tokens }: Tokens.Heading): VNode {
  const Tag = `h${Math.min(6, depth + 2)}` as 'h3';
  return <Tag>{drawAll(tokens)}</Tag>;
}

function table({ header, rows }: Tokens.Table): VNode {
  return (
    <div class="wide" tabIndex={0} role="region" aria-label="Table">
      <table>
        <thead>
          <tr>
            {header.map((cell, index) => (
              <th key={index} scope="col">
                {drawAll(cell.tokens)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, at) => (
            <tr key={at}>
              {row.map((cell, index) => (
                <td key={index}>{drawAll(cell.tokens)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A link to the web, or what it says alone: `javascript:` and its like lead nowhere. */
function link(address: string, shown: ComponentChildren): ComponentChildren {
  if (!/^(https?|mailto):/i.test(address) || !URL.canParse(address)) return shown;
  return (
    <a href={address} target="_blank" rel="noopener noreferrer nofollow" title={address}>
      {shown}
    </a>
  );
}

const references: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', nbsp: '\u00a0' };

/** The parser leaves character references to the browser, which sees none here. */
function plain(text: string): string {
  return text.replaceAll(/&(amp|lt|gt|quot|nbsp);/g, (whole, name: string) => references[name] ?? whole);
}
