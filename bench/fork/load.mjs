/** What services are measured with. */
import autocannon from 'autocannon';

/** So many requests, over connections that are closed now and then, so that each worker gets its share. */
export async function requests(port, amount) {
  const result = await autocannon({
    url: `http://127.0.0.1:${port}/`,
    connections: 32,
    amount,
    reconnectRate: 20,
  });
  if (result.non2xx > 0) throw new Error(`${result.non2xx} answers were not 200`);
  return result;
}
