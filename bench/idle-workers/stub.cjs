// Loaded into the manager: what it takes for Node.js is the stub.
process.execPath = process.env.BENCH_STUB;
