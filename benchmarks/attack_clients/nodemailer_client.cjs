// Adapter for nodemailer; job and outcome are described in adapter.py.
'use strict';

const fs = require('fs');
const nodemailer = require('nodemailer');

// An exception of JavaScript's own is no refusal; everything else comes from nodemailer or node.
const BUGS = [TypeError, ReferenceError, RangeError, SyntaxError];

function peakKib() {
    try {
        return Number(/^VmHWM:\s+(\d+)/m.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]);
    } catch {
        return null;
    }
}

function transporter(job) {
    const timeout = job.timeout * 1000;
    const options = {
        host: job.host,
        port: job.port,
        secure: false,
        name: job.name,
        connectionTimeout: timeout,
        greetingTimeout: timeout,
        socketTimeout: timeout,
    };
    if (job.mode === 'login') {
        options.ignoreTLS = true;
        options.auth = { type: 'login', user: job.user, pass: job.password };
        options.authMethod = 'PLAIN';
    } else {
        options.requireTLS = true;
    }
    if (job.mode === 'careful' || job.mode === 'followup') {
        options.tls = { ca: fs.readFileSync(job.cafile) };
    }
    return nodemailer.createTransport(options);
}

async function send(job) {
    const demand = job.mode === 'careful' || job.mode === 'followup';
    const mail = {
        envelope: { from: job.sender, to: [job.recipient] },
        raw: Buffer.from(job.content, 'base64'),
        requireTLSExtensionEnabled: demand,
    };
    const transport = transporter(job);
    try {
        await transport.sendMail(mail);
    } catch (error) {
        if (job.mode === 'followup') {
            await transport.sendMail({ ...mail, requireTLSExtensionEnabled: false }).catch(() => {});
        }
        throw error;
    } finally {
        transport.close();
    }
}

async function main() {
    const job = JSON.parse(fs.readFileSync(0, 'utf8'));
    const before = peakKib();
    const start = process.hrtime.bigint();
    let outcome = 'sent';
    let error = null;
    try {
        await send(job);
    } catch (raised) {
        outcome = BUGS.some(bug => raised instanceof bug) ? 'error' : 'refused';
        error = { class: raised.code || raised.name, text: raised.message };
    }
    const seconds = Number(process.hrtime.bigint() - start) / 1e9;
    const result = { outcome, error, seconds, before_kib: before, peak_kib: peakKib() };
    fs.writeSync(1, JSON.stringify(result) + '\n');
    process.exit(0);
}

main();
