// Submits one message with nodemailer. Reads what to do as JSON from standard input:
// modules, port, implicit, ca, login, password | token, mechanism, and either `from`, `to` and the name of a whole
// message in `file`, or nodemailer's own description of one in `mail`.

import { createReadStream, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const task = JSON.parse(readFileSync(0, 'utf8'));
const nodemailer = createRequire(task.modules + '/')('nodemailer');

const transport = nodemailer.createTransport({
    host: 'localhost',
    port: task.port,
    secure: task.implicit,
    requireTLS: !task.implicit,
    ignoreTLS: false,
    tls: { ca: readFileSync(task.ca) },
    authMethod: task.mechanism,
    auth: task.token
        ? { type: 'OAuth2', user: task.login, accessToken: task.token }
        : { user: task.login, pass: task.password },
});

const mail = task.mail ?? {
    envelope: { from: task.from, to: task.to, use8BitMime: true },
    raw: createReadStream(task.file),
};
const { rejected } = await transport.sendMail(mail);
if (rejected.length) {
    throw new Error(`refused: ${rejected}`);
}
transport.close();
