// Works in a mailbox with imapflow and prints what it saw as JSON. Reads what to do as JSON from standard input:
// modules, port, implicit, ca, login, password | token.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const task = JSON.parse(readFileSync(0, 'utf8'));
const { ImapFlow } = createRequire(task.modules + '/')('imapflow');

const client = new ImapFlow({
    host: 'localhost',
    port: task.port,
    secure: task.implicit,
    doSTARTTLS: !task.implicit,
    tls: { ca: readFileSync(task.ca) },
    auth: task.token ? { user: task.login, accessToken: task.token } : { user: task.login, pass: task.password },
    logger: false,
    qresync: true,
});

const seen = [];
await client.connect();
seen.push((await client.list()).map(each => [each.path, each.specialUse ?? null]));
const lock = await client.getMailboxLock('INBOX');
for await (const message of client.fetch('1:*', { uid: true, flags: true, source: true, envelope: true })) {
    const source = message.source.toString('latin1');
    seen.push([message.uid, [...message.flags].sort(), message.envelope.subject, source]);
}
const { content } = await client.download('3', '2');
const chunks = [];
for await (const chunk of content) {
    chunks.push(chunk);
}
seen.push(Buffer.concat(chunks).toString('hex'));
await client.messageFlagsAdd('1', ['\\Seen', '$Offer']);
seen.push(await client.search({ seen: true }));
seen.push((await client.append('Sent', 'Subject: from imapflow\r\n\r\nGrüße\r\n', ['\\Seen'])).uid);
seen.push([...(await client.messageMove('2', 'Trash')).uidMap]);
seen.push(client.mailbox.exists);
lock.release();
await client.logout();
console.log(JSON.stringify(seen));
