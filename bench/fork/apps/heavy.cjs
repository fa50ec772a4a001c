// A program that takes long to load, and holds much: libraries of which a request uses but one.
const typescript = require('typescript');
const fastify = require('fastify');
const { z } = require('zod');
const express = require('express');
const answer = require('./answer.cjs');

const Query = z.object({ name: z.string().optional() });
const loaded = [typescript.version, fastify.name].length;

const app = express();
app.get('/', (request, response) => {
  Query.parse(request.query);
  response.set('x-loaded', String(loaded)).send(answer());
});
app.listen(Number(process.env.PORT), '127.0.0.1', () => process.send?.('listening'));
