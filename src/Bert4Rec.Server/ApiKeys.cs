using System.Security.Cryptography;
using System.Text;
using Bert4Rec.Serialization;
using Microsoft.AspNetCore.Http;

namespace Bert4Rec.Server;

/// <summary>Who may ask. Only checksums of the keys are kept, and a comparison takes as long whatever it is compared with.</summary>
internal sealed class ApiKeys
{
    /// <summary>What can be guessed is no key.</summary>
    private const int ShortestKey = 16;

    private readonly List<byte[]> _hashes = [];

    /// <param name="path">A key a line; empty lines and lines that begin with '#' do not count.</param>
    /// <exception cref="InputException">There is none, or one is too short.</exception>
    public ApiKeys(string path)
    {
        using TextReader file = InputFile.OpenText(path);
        int number = 0;
        foreach (string line in InputFile.ReadLines(file, path))
        {
            number++;
            string key = line.Trim();
            if (key.Length == 0 || key.StartsWith('#'))
                continue;
            if (key.Length < ShortestKey || key.Any(each => each is <= ' ' or > '~'))
            {
                throw InputException.At(
                    path,
                    number,
                    $"a key has at least {ShortestKey} letters, digits and signs, and no space; openssl rand -hex 32 makes one");
            }
            _hashes.Add(Hash(key));
        }
        if (_hashes.Count == 0)
            throw new InputException($"{path}: no key in it; write one a line");
    }

    /// <summary>Whether the request shows a key, as <c>Authorization: Bearer KEY</c>.</summary>
    public bool Allow(HttpRequest request)
    {
        const string Scheme = "Bearer ";
        string? shown = request.Headers.Authorization;
        if (shown is null || !shown.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase))
            return false;
        byte[] hash = Hash(shown[Scheme.Length..].Trim());
        bool isOne = false;
        foreach (byte[] known in _hashes)
            isOne |= CryptographicOperations.FixedTimeEquals(hash, known);
        return isOne;
    }

    private static byte[] Hash(string key) => SHA256.HashData(Encoding.UTF8.GetBytes(key));
}
