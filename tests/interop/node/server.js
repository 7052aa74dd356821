// An SMS centre made of node-smpp, driven over stdin and reporting on stdout, one JSON object a line.
//
// It reports {"port"} once, then {"bind"}, {"submit"}, {"delivered"}, {"enquired"}, {"answered"} and {"unbound"} as they happen.
// It obeys {"deliver": {...}} and {"enquire": true}. It ends when stdin does.
'use strict';

const readline = require('readline');
const smpp = require('smpp');

const RECEIPT = 4;
const UDH = 0x40;
const DELIVERED = 2;

let esme = null;
let accepted = 0;

function report(object) {
  process.stdout.write(JSON.stringify(object) + '\n');
}

function deliver(fields) {
  const udh = fields.udh === undefined ? undefined : Buffer.from(fields.udh, 'hex');
  const pdu = { ...fields, short_message: { message: fields.text, udh } };
  delete pdu.text;
  delete pdu.udh;
  esme.deliver_sm(pdu, (response) => report({ delivered: response.command_status }));
}

function sendReceipt(submit, id) {
  const text = `id:${id} sub:001 dlvrd:001 submit date:2603121000 done date:2603121001 stat:DELIVRD err:000 text:CANH BAO`;
  deliver({
    source_addr: submit.destination_addr,
    destination_addr: submit.source_addr,
    esm_class: RECEIPT,
    data_coding: 0,
    text,
    receipted_message_id: id,
    message_state: DELIVERED,
  });
}

function takeSubmit(submit) {
  const { udh, message } = submit.short_message;
  report({
    submit: {
      source: submit.source_addr,
      source_ton: submit.source_addr_ton,
      source_npi: submit.source_addr_npi,
      destination: submit.destination_addr,
      dest_ton: submit.dest_addr_ton,
      dest_npi: submit.dest_addr_npi,
      esm_class: submit.esm_class,
      data_coding: submit.data_coding,
      registered_delivery: submit.registered_delivery,
      validity_s: submit.validity_period ? Math.round((submit.validity_period - Date.now()) / 1000) : null,
      reference: submit.user_message_reference === undefined ? null : submit.user_message_reference,
      udh: submit.esm_class & UDH ? udh.map((element) => element.toString('hex')) : [],
      text: message,
    },
  });
  accepted += 1;
  const id = accepted.toString(16).padStart(8, '0');
  esme.send(submit.response({ message_id: id }));
  if (submit.registered_delivery & 1) sendReceipt(submit, id);
}

const server = smpp.createServer((session) => {
  session.on('error', (error) => report({ error: String(error) }));
  session.on('bind_transceiver', (pdu) => {
    esme = session;
    report({ bind: { system_id: pdu.system_id, password: pdu.password, version: pdu.interface_version } });
    session.send(pdu.response({ system_id: 'node-smpp' }));
  });
  session.on('submit_sm', takeSubmit);
  session.on('enquire_link', (pdu) => {
    report({ enquired: true });
    session.send(pdu.response());
  });
  session.on('unbind', (pdu) => {
    report({ unbound: true });
    session.send(pdu.response());
    session.close();
  });
});

server.listen(0, '127.0.0.1', () => report({ port: server.address().port }));

readline
  .createInterface({ input: process.stdin })
  .on('line', (line) => {
    const order = JSON.parse(line);
    if (order.deliver) deliver(order.deliver);
    if (order.enquire) esme.enquire_link((response) => report({ answered: response.command_status }));
  })
  .on('close', () => process.exit(0));
