// npm's smtp-server, offering REQUIRETLS: STARTTLS on ports 25 and 587 (the latter wants AUTH
// as user/secret), TLS from the start on 465.
//
// usage: node smtp_server.mjs FOLDER-WITH-node_modules CERTIFICATE.pem NAME ADDRESS
//
// Prints one JSON line per command it is sent ({command}) and per message it takes ({message}).
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [folder, certificate, name, address] = process.argv.slice(2);
const { SMTPServer } = createRequire(join(folder, 'index.js'))('smtp-server');
const pem = readFileSync(certificate);
const report = (what) => console.log(JSON.stringify(what));

// The server's own log is the only place that sees each command, refused ones too.
function note(entry, format, ...values) {
    if (entry.tnx === 'command') report({ command: String(values.at(-1)) });
}
const logger = Object.fromEntries(
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal'].map((level) => [level, note]));

function onData(stream, session, done) {
    const chunks = [];
    stream.on('data', (chunk) => chunks.push(chunk));
    stream.on('end', () => {
        const text = Buffer.concat(chunks).toString('latin1');
        const header = text.split('\r\n\r\n')[0];
        const { mailFrom, rcptTo, requireTLS } = session.envelope;
        report({ message: {
            from: mailFrom.address,
            to: rcptTo.map((recipient) => recipient.address),
            requireTLS,
            secure: session.secure,
            tlsRequired: header.match(/^tls-required:[ \t]*(.*)$/im)?.[1].trim() ?? null,
            text,
        } });
        done();
    });
}

function listen(port, options) {
    const server = new SMTPServer({
        key: pem,
        cert: pem,
        name,
        logger,
        hideREQUIRETLS: false, // hidden unless asked for
        authOptional: true,
        disableReverseLookup: true,
        onAuth: ({ username, password }, session, done) =>
            username === 'user' && password === 'secret'
                ? done(null, { user: username })
                : done(new Error('bad credentials')),
        onData,
        ...options,
    });
    server.on('error', () => {}); // a client that hangs up must not end the process
    server.listen(port, address);
}

listen(25, {});
listen(587, { authOptional: false });
listen(465, { secure: true });
