/** The activity that does nothing. */
export async function echo(payload: string): Promise<string> {
  return payload;
}
