// Adapter for nodemailer; job and answer are described in adapter.py. It uses nodemailer's own
// SMTPConnection: a transporter would connect anew for each message.
'use strict';

const fs = require('fs');
const SMTPConnection = require('nodemailer/lib/smtp-connection');

const job = JSON.parse(fs.readFileSync(0, 'utf8'));
const content = fs.readFileSync(job.content);
const to = Array.from({ length: job.recipients }, (_, i) => `recipient${i}@example.net`);
const envelope = { from: 'sender@example.org', to, size: content.length };

function settle(resolve, reject) {
    return error => (error ? reject(error) : resolve());
}

function connect() {
    const options = { host: job.host, port: job.port, name: 'client.test' };
    if (job.cafile) {
        // The certificate names localhost too; node sends no address as SNI.
        Object.assign(options, {
            requireTLS: true,
            tls: { ca: fs.readFileSync(job.cafile), servername: 'localhost' },
        });
    } else {
        options.ignoreTLS = true;
    }
    const connection = new SMTPConnection(options);
    return new Promise((resolve, reject) => {
        connection.once('error', reject);
        connection.connect(() => resolve(connection));
    });
}

function login(connection) {
    const auth = { user: 'user', credentials: { user: 'user', pass: 'secret' } };
    return new Promise((resolve, reject) => connection.login(auth, settle(resolve, reject)));
}

function send(connection) {
    return new Promise((resolve, reject) =>
        connection.send(envelope, content, settle(resolve, reject))
    );
}

function quit(connection) {
    return new Promise(resolve => {
        connection.once('end', resolve);
        connection.quit();
    });
}

async function session(connection, count) {
    for (let i = 0; i < count; i++) {
        await send(connection);
    }
}

async function alerts(count) {
    for (let i = 0; i < count; i++) {
        const connection = await connect();
        await login(connection);
        await send(connection);
        await quit(connection);
    }
}

function kib() {
    try {
        return Number(/^VmHWM:\s+(\d+)/m.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]);
    } catch {
        return null;
    }
}

async function measure(work) {
    try {
        fs.writeFileSync('/proc/self/clear_refs', '5');
    } catch {
        // elsewhere than on Linux
    }
    const before = kib();
    const start = process.hrtime.bigint();
    const cpu = process.cpuUsage();
    await work();
    const wall = Number(process.hrtime.bigint() - start) / 1e9;
    const used = process.cpuUsage(cpu);
    const growth = before === null ? null : kib() - before;
    return { wall, cpu: (used.user + used.system) / 1e6, growth_kib: growth };
}

async function main() {
    let result;
    if (job.mode === 'alert') {
        await alerts(job.warm);
        result = await measure(() => alerts(job.n));
    } else {
        const connection = await connect();
        await session(connection, job.warm);
        result = await measure(() => session(connection, job.n));
        await quit(connection);
    }
    fs.writeSync(1, JSON.stringify(result) + '\n');
    process.exit(0);
}

main().catch(error => {
    console.error(error);
    process.exit(1);
});
