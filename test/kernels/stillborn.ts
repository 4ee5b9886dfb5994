/** Ends because of a missing module before it binds anything, as a broken installation does. */
const traceback = `Traceback (most recent call last):
  File "/opt/kernel/launcher.py", line 3, in <module>
    import frobnicator
ModuleNotFoundError: No module named 'frobnicator'
`;
process.stderr.write(traceback, () => process.exit(3));
