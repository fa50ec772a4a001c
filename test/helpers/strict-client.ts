/** The strict client of `prefork check`, as the tests use it: against their own servers, with 200 as the only answer. */
export { type Failure, StrictClient, type StrictReport } from '../../src/check/client';
