using System.Text;

namespace Bert4Rec.Tests;

/// <summary>Files damaged at random, of a seed.</summary>
internal static class Fuzz
{
    /// <summary>Damaged files that a fuzz test tries: few by default, $BERT4REC_FUZZ_CASES for as many as one has time for.</summary>
    public static int Cases { get; } =
        int.TryParse(Environment.GetEnvironmentVariable("BERT4REC_FUZZ_CASES"), out int cases) ? cases : 500;

    /// <summary>
    /// The file with up to three things done to it: bytes flipped, lines cut, quotes opened, huge fields, other encodings.
    /// </summary>
    public static byte[] Damage(byte[] log, Random random)
    {
        var bytes = new List<byte>(log);
        for (int times = random.Next(1, 4); times > 0; times--)
        {
            int at = random.Next(bytes.Count);
            switch (random.Next(11))
            {
                case 0:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    bytes[at] = (byte)random.Next(256);
                    break;
                case 2:
                    bytes.RemoveRange(at, bytes.Count - at);
                    break;
                case 3:
                    bytes.RemoveRange(at, Math.Min(random.Next(200), bytes.Count - at));
                    break;
                case 4:
                    bytes.Insert(at, (byte)'"');
                    break;
                case 5:
                    bytes.InsertRange(at, Enumerable.Repeat((byte)"x,\"\n\0"[random.Next(5)], random.Next(20_000)));
                    break;
                case 6:
                    // Now and then a line longer than a block.
                    if (random.Next(20) == 0)
                        bytes.InsertRange(at, Enumerable.Repeat((byte)'y', (1 << 20) + random.Next(100_000)));
                    break;
                case 7:
                    bytes.InsertRange(at, Encoding.Unicode.GetBytes("größe"));
                    break;
                case 8:
                    bytes.InsertRange(at, new byte[] { 0xEF, 0xBB, 0xBF });
                    break;
                case 9:
                    bytes = [.. Encoding.Unicode.GetPreamble(), .. Encoding.Unicode.GetBytes(Encoding.Latin1.GetString([.. bytes]))];
                    break;
                default:
                    bytes.InsertRange(at, bytes.GetRange(0, Math.Min(bytes.Count, random.Next(300))));
                    break;
            }
            if (bytes.Count == 0)
                bytes.Add((byte)'\n');
        }
        return [.. bytes];
    }
}
